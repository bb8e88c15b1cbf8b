_base_ = './sclip_toy_voc21.py'

model = dict(image_encoder=dict(method=dict(type='CLIP')))
