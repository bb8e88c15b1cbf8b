_base_ = '../_base_/protocols/mess_bdd100k.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
