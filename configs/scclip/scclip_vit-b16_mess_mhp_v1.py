_base_ = '../_base_/protocols/mess_mhp_v1.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
