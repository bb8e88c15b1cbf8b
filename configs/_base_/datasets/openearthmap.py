_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='OpenEarthMapDataset',
        data_root=_base_.data_root + '/OpenEarthMap',
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        img_suffix='.tif',
        seg_map_suffix='.tif',
    )
)
