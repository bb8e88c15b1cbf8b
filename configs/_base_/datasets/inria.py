_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='BuildingMaskDataset',
        data_root=_base_.data_root + '/Inria/AerialImageDataset/train',
        data_prefix=dict(img_path='img_dir/split_test', seg_map_path='ann_dir/split_test'),
        img_suffix='.png',
    )
)
