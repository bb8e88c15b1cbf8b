_base_ = '../_base_/protocols/mess_dark_zurich.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
