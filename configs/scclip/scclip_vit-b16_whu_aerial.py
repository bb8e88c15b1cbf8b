_base_ = '../_base_/protocols/segearth_whu_aerial.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
