# One protocol for all methods: short side 560, and the values here and in the model config.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/cityscapes.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='cityscapes'),
)
