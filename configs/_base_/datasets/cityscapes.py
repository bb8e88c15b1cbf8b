_base_ = './benchmark.py'

# The images are large: short side 560.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 560)
test_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset',
        data_root=_base_.data_root + '/cityscapes',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    )
)
