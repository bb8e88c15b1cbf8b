_base_ = [
    '../_base_/models/talk2dino_vit-b14.py',
    '../_base_/protocols/unified_ade20k.py',
]

model = dict(text_head=dict(queries='plain_ade20k'))
