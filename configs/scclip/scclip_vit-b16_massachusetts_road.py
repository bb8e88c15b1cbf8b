_base_ = '../_base_/protocols/segearth_massachusetts_road.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
