_base_ = [
    '../_base_/models/clip_vit-b16.py',
    '../_base_/datasets/voc21.py',
    '../_base_/default_runtime.py',
]

model = dict(
    image_encoder=dict(attention=dict(type='CSA')),
    text_head=dict(queries='voc21'),
    test_cfg=dict(logit_scale=65.0, prob_thd=0.1, area_thd=0.1),
)
