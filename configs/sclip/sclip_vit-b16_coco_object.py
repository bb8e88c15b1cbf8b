_base_ = '../_base_/protocols/sclip_coco_object.py'

model = dict(image_encoder=dict(attention=dict(type='CSA')))
