_base_ = '../_base_/protocols/mess_chase_db1.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
