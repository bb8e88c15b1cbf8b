# The values of SCLIP's program for PASCAL Context.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/context459.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='context459'),
)
