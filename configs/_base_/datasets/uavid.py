_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='UAVidDataset',
        data_root=_base_.data_root + '/UAVid',
        data_prefix=dict(img_path='img_dir/test', seg_map_path='ann_dir/test'),
        img_suffix='.png',
    )
)
