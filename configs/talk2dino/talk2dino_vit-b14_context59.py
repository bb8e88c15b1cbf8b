_base_ = [
    '../_base_/models/talk2dino_vit-b14.py',
    '../_base_/protocols/unified_context59.py',
]

model = dict(text_head=dict(queries='context59'))
