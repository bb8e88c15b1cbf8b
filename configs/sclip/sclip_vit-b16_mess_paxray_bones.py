_base_ = '../_base_/protocols/mess_paxray_bones.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
