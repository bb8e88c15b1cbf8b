_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='ADE20KDataset',
        data_root=_base_.data_root + '/ade/ADEChallengeData2016',
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
    )
)
