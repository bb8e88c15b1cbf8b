_base_ = '../_base_/protocols/cityscapes.py'

model = dict(
    image_encoder=dict(method=dict(type='SFP')),
    text_head=dict(queries='sfp_cityscapes'),
)
