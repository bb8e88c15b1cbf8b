_base_ = [
    '../_base_/models/rfclip_vit-b16.py',
    '../_base_/datasets/ade847.py',
    '../_base_/default_runtime.py',
]

model = dict(text_head=dict(queries='ade847'))
