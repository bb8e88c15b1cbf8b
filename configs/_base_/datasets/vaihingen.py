_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='ISPRSDataset',
        data_root=_base_.data_root + '/vaihingen',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    )
)
