# One protocol for all methods: longer side 448, and the values here and in the model config.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/spacenet_road.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='rs_road'),
)
