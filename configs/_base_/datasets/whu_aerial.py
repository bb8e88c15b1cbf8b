_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='BuildingMaskDataset',
        data_root=_base_.data_root + '/WHU-BD/val',
        data_prefix=dict(img_path='image', seg_map_path='label_cvt'),
        img_suffix='.png',
    )
)
