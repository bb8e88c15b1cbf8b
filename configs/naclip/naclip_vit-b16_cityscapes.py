_base_ = '../_base_/protocols/cityscapes.py'

model = dict(image_encoder=dict(attention=dict(type='NACLIPAttention')))
