_base_ = '../_base_/protocols/mess_paxray_lungs.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
