_base_ = '../_base_/protocols/mess_cwfid.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
