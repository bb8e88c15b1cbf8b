_base_ = [
    '../models/trident_vit-b16.py',
    '../datasets/ade847.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='ade847'),
    postprocess=dict(type='SAMRefinement', coarse_thresh=0.2),
)
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
