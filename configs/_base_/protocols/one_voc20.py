# One protocol for all methods: short side 336, and the values here and in the model config.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/voc20.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='voc20'),
)
