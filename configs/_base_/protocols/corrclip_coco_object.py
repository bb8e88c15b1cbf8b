_base_ = [
    '../models/corrclip_vit-b16.py',
    '../datasets/coco_object.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='corrclip_coco_object'),
    test_cfg=dict(prob_thd=0.25),
)
