_base_ = '../_base_/protocols/sclip_cityscapes.py'

model = dict(image_encoder=dict(attention=dict(type='CSA')))
