_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='VDDDataset',
        data_root=_base_.data_root + '/VDD/test',
        data_prefix=dict(img_path='src', seg_map_path='gt'),
        img_suffix='.JPG',
    )
)
