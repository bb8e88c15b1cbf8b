# One protocol for all methods: short side 336, and the values here and in the model config.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/coco_stuff10k.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='coco_stuff'),
)
