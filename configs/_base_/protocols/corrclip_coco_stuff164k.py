_base_ = [
    '../models/corrclip_vit-b16.py',
    '../datasets/coco_stuff164k.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='corrclip_coco_stuff'),
)
