_base_ = [
    '../models/corrclip_vit-b16.py',
    '../datasets/voc20.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='corrclip_voc20'),
)
