_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/vaihingen.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='vaihingen'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.1, bg_idx=5, pad_multiple=16),
)
