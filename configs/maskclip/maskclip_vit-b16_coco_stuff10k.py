_base_ = '../_base_/protocols/sclip_coco_stuff10k.py'

model = dict(image_encoder=dict(method=dict(type='MaskCLIP')))
