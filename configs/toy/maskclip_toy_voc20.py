_base_ = './sclip_toy_voc20.py'

model = dict(image_encoder=dict(method=dict(type='MaskCLIP')))
