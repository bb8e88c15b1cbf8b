_base_ = [
    '../models/proxyclip_vit-b16.py',
    '../datasets/voc20.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='proxyclip_voc20'),
)
