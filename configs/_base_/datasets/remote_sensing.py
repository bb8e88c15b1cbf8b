_base_ = './benchmark.py'

# What the benchmarks of remote sensing share: longer side 448, as SegEarth-OV has it.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (448, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
