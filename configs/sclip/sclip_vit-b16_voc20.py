_base_ = '../_base_/protocols/sclip_voc20.py'

model = dict(image_encoder=dict(attention=dict(type='CSA')))
