_base_ = '../_base_/protocols/mess_zerowaste.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
