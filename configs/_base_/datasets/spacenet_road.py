_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='RoadMaskDataset',
        data_root=_base_.data_root + '/GlobalRoadSet_Val/SpaceNet_test_567',
        data_prefix=dict(img_path='img', seg_map_path='label_cvt'),
    )
)
