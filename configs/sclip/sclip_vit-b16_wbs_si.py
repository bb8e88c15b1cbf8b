_base_ = '../_base_/protocols/segearth_wbs_si.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
