_base_ = [
    '../models/corrclip_vit-b16.py',
    '../datasets/context59.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='corrclip_context59'),
)
