# The values of SCLIP's and ResCLIP's programs, which agree.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/ade20k.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='ade20k'),
)
