_base_ = './benchmark.py'

# Common settings of the remote-sensing benchmarks: longer side 448, like SegEarth-OV.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (448, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
