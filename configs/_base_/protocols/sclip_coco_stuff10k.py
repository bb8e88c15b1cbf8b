_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/coco_stuff10k.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='coco_stuff'),
)
