_base_ = './trident_vit-b16_cityscapes.py'

model = dict(postprocess=None)
