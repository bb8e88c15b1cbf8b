_base_ = [
    '../_base_/models/sam3.py',
    '../_base_/datasets/loveda.py',
    '../_base_/default_runtime.py',
]

# Images at their original size.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
del test_pipeline[1], tta_pipeline[1].transforms[0]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

model = dict(
    text_head=dict(queries='sam3_loveda'),
    test_cfg=dict(prob_thd=0.5, bg_idx=0),
)
