_base_ = './trident_vit-b16_context60.py'

model = dict(postprocess=None)
