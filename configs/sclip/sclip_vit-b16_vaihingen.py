_base_ = '../_base_/protocols/segearth_vaihingen.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
