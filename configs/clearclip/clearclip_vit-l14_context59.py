_base_ = './clearclip_vit-b16_context59.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
