_base_ = './naclip_vit-b16_coco_stuff164k.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
