_base_ = './naclip_vit-b16_ade20k.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
