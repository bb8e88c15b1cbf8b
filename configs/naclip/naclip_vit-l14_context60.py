_base_ = './naclip_vit-b16_context60.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
