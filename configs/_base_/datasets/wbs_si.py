_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='WaterMaskDataset',
        data_root=_base_.data_root + '/water-body-segmentation-in-satellite-images/'
        'WaterBodiesDatasetPreprocessed/WaterBodiesDatasetPreprocessed',
        data_prefix=dict(img_path='Images', seg_map_path='Masks'),
        seg_map_suffix='.jpg',
        split='wbs_si',
    )
)
