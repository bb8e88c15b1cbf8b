_base_ = './trident_vit-b16_voc21.py'

model = dict(postprocess=None)
