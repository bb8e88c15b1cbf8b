_base_ = [
    '../models/proxyclip_vit-b16.py',
    '../datasets/context60.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='context60'),
    test_cfg=dict(prob_thd=0.15),
)
