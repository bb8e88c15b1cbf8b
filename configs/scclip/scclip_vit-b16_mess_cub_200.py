_base_ = '../_base_/protocols/mess_cub_200.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
