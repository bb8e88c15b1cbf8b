_base_ = './sclip_vit-b16_coco_stuff10k.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
