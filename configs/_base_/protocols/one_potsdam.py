# One protocol for all methods: longer side 448, and what is stated here and in the model.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/potsdam.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='potsdam'),
)
