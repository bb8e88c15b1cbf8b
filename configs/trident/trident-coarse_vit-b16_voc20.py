_base_ = './trident_vit-b16_voc20.py'

model = dict(postprocess=None)
