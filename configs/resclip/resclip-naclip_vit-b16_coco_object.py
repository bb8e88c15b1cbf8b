_base_ = './resclip-sclip_vit-b16_coco_object.py'

model = dict(image_encoder=dict(method=dict(base=dict(type='NACLIP'))))
