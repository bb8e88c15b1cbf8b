_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_corrosion_cs',
        data_root=_base_.data_root + '/mess/Corrosion Condition State Classification',
        data_prefix=dict(img_path='original/Test/images', seg_map_path='original/Test/masks'),
    )
)
