_base_ = '../_base_/protocols/context459.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
