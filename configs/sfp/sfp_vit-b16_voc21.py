_base_ = '../_base_/protocols/scclip_voc21.py'

model = dict(
    image_encoder=dict(method=dict(type='SFP')),
    text_head=dict(queries='sfp_voc21'),
)
