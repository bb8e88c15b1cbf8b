_base_ = '../_base_/protocols/mess_worldfloods.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
