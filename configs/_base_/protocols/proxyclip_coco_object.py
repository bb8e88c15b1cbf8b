_base_ = [
    '../models/proxyclip_vit-b16.py',
    '../datasets/coco_object.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='proxyclip_coco_object'),
    test_cfg=dict(prob_thd=0.25),
)
