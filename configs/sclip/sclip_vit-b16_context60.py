_base_ = [
    '../_base_/models/clip_vit-b16.py',
    '../_base_/datasets/context60.py',
    '../_base_/default_runtime.py',
]

model = dict(
    image_encoder=dict(attention=dict(type='CSA')),
    text_head=dict(queries='context60'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.1),
)
