_base_ = './resclip-sclip_vit-b16_coco_stuff164k.py'

model = dict(image_encoder=dict(method=dict(base=dict(type='NACLIP'))))
