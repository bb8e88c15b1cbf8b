_base_ = [
    '../_base_/models/clip_vit-b16.py',
    '../_base_/datasets/context59.py',
    '../_base_/default_runtime.py',
]

model = dict(
    image_encoder=dict(attention=dict(type='CSA')),
    text_head=dict(queries='context59'),
)
