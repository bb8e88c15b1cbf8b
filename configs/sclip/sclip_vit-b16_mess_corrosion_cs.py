_base_ = '../_base_/protocols/mess_corrosion_cs.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
