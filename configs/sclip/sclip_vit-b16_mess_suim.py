_base_ = '../_base_/protocols/mess_suim.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
