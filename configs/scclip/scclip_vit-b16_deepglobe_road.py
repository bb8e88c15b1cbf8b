_base_ = '../_base_/protocols/segearth_deepglobe_road.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
