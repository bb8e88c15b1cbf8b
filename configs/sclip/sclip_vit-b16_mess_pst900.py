_base_ = '../_base_/protocols/mess_pst900.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
