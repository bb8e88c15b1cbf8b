_base_ = ['../datasets/voc21.py', '../default_runtime.py']

# Short side 448, like TCL and GroupViT on all benchmarks.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
