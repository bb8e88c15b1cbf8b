_base_ = '../_base_/protocols/ade20k.py'

model = dict(image_encoder=dict(method=dict(type='SFP')))
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 384)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
