_base_ = '../_base_/protocols/sclip_context60.py'

model = dict(image_encoder=dict(method=dict(type='GEM')))
