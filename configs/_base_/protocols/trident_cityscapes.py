_base_ = [
    '../models/trident_vit-b16.py',
    '../datasets/cityscapes.py',
    '../default_runtime.py',
]

model = dict(
    image_encoder=dict(method=dict(cos_fac=3.0, keep_negative=False, halves=True)),
    text_head=dict(queries='cityscapes'),
    postprocess=dict(type='SAMRefinement', coarse_thresh=0.1),
)
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 688)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
