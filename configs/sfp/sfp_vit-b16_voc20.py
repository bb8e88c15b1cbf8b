_base_ = '../_base_/protocols/sclip_voc20.py'

model = dict(
    image_encoder=dict(method=dict(type='SFP')),
    text_head=dict(queries='sfp_voc20'),
)
