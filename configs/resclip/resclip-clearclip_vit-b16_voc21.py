_base_ = './resclip-sclip_vit-b16_voc21.py'

model = dict(image_encoder=dict(method=dict(base=dict(type='ClearCLIP'))))
