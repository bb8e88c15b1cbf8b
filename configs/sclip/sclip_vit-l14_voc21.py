_base_ = './sclip_vit-b16_voc21.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
