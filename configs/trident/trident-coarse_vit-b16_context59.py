_base_ = './trident_vit-b16_context59.py'

model = dict(postprocess=None)
