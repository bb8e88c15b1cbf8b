_base_ = '../_base_/protocols/mess_paxray_mediastinum.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
