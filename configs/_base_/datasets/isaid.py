_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='iSAIDDataset',
        data_root=_base_.data_root + '/iSAID',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
    )
)
