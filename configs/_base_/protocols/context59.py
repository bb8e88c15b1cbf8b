# The values of SCLIP's and ResCLIP's programs, which agree.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/context59.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='context59'),
)
