# One protocol for all methods: short side 336, and what is stated here.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/voc21.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='voc21'),
    test_cfg=dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        logit_scale=40.0,
        prob_thd=0.1,
        area_thd=None,
    ),
)
