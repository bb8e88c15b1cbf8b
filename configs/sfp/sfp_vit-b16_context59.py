_base_ = '../_base_/protocols/context59.py'

model = dict(image_encoder=dict(method=dict(type='SFP')))
