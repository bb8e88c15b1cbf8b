_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/chn6_cug.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='rs_road'),
    test_cfg=dict(logit_scale=50.0, prob_thd=0.8, bg_idx=0, pad_multiple=16),
)
