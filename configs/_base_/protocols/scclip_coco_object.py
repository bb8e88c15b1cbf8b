_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/coco_object.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='coco_object'),
    test_cfg=dict(logit_scale=55.0, prob_thd=0.35),
)
