_base_ = '../_base_/protocols/segearth_udd5.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
