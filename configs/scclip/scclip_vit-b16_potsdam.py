_base_ = '../_base_/protocols/segearth_potsdam.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
