_base_ = '../_base_/protocols/ade847.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
