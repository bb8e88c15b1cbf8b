_base_ = './trident_vit-b16_ade20k.py'

model = dict(postprocess=None)
