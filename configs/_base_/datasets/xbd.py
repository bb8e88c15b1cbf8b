_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='BuildingMaskDataset',
        data_root=_base_.data_root + '/xBD/test',
        data_prefix=dict(img_path='images_pre', seg_map_path='targets_cvt_pre'),
        img_suffix='.png',
    )
)
