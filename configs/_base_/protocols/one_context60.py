# One protocol for all methods: short side 336, and the values here and in the model config.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/context60.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='context60'),
    test_cfg=dict(prob_thd=0.1),
)
