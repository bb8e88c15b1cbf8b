_base_ = '../_base_/protocols/scclip_context60.py'

model = dict(image_encoder=dict(method=dict(type='SFP')))
