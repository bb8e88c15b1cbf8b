_base_ = '../_base_/protocols/mess_isprs_potsdam.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
