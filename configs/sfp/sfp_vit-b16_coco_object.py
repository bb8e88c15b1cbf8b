_base_ = '../_base_/protocols/scclip_coco_object.py'

model = dict(image_encoder=dict(method=dict(type='SFP')))
