_base_ = [
    '../models/proxyclip_vit-b16.py',
    '../datasets/voc21.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='proxyclip_voc21'),
    test_cfg=dict(prob_thd=0.2),
)
