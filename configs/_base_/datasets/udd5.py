_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='UDD5Dataset',
        data_root=_base_.data_root + '/UDD/UDD/UDD5/val',
        data_prefix=dict(img_path='src', seg_map_path='gt'),
        img_suffix='.JPG',
    )
)
