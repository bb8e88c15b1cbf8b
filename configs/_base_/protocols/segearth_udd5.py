_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/udd5.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='udd5'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.4, bg_idx=4, pad_multiple=16),
)
