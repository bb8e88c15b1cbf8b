_base_ = './remote_sensing.py'

test_dataloader = dict(
    dataset=dict(
        type='BuildingMaskDataset',
        data_root=_base_.data_root + '/WHU_Sat_II/Satellite_dataset_Ⅱ_East_Asia/1.cropped/test',
        data_prefix=dict(img_path='image', seg_map_path='label_cvt'),
        img_suffix='.tif',
        seg_map_suffix='.tif',
    )
)
