_base_ = '../_base_/protocols/segearth_isaid.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
