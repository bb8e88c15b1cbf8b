_base_ = [
    '../models/corrclip_vit-b16.py',
    '../datasets/context60.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='corrclip_context60'),
    test_cfg=dict(prob_thd=0.15),
)
