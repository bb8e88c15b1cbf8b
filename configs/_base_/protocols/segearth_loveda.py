_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/loveda.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='loveda'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.3, bg_idx=0, pad_multiple=16),
)
