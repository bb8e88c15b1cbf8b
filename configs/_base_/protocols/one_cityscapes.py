# One protocol for all methods: short side 560, and what is stated here.
_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/cityscapes.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='cityscapes'),
    test_cfg=dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        logit_scale=40.0,
        prob_thd=0.0,
        area_thd=None,
    ),
)
