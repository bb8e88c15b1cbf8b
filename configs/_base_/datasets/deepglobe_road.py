_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='RoadMaskDataset',
        data_root=_base_.data_root + '/GlobalRoadSet_Val/DeepGlobe_test_1530',
        data_prefix=dict(img_path='image_cvt', seg_map_path='label_cvt'),
    )
)
