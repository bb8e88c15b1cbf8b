_base_ = [
    '../models/proxyclip_vit-b16.py',
    '../datasets/context59.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='context59'),
)
