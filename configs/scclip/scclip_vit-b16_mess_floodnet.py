_base_ = '../_base_/protocols/mess_floodnet.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
