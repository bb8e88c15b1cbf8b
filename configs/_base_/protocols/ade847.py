# The values of SCLIP's program for ADE20K.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/ade847.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='ade847'),
)
