_base_ = '../_base_/protocols/mess_kvasir_instrument.py'

model = dict(image_encoder=dict(method=dict(type='SCLIP')))
