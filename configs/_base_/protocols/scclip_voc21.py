_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/voc21.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='voc21'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.15, area_thd=0.1),
)
