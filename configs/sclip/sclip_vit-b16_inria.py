_base_ = '../_base_/protocols/segearth_inria.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
