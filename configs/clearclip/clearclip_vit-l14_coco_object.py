_base_ = './clearclip_vit-b16_coco_object.py'

model = dict(image_encoder=dict(clip='ViT-L/14'))
