_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='RoadMaskDataset',
        data_root=_base_.data_root + '/CHN6-CUG/val',
        data_prefix=dict(img_path='image_cvt', seg_map_path='label_cvt'),
    )
)
