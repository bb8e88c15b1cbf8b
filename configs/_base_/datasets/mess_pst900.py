_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_pst900',
        data_root=_base_.data_root + '/mess/PST900_RGBT_Dataset',
        data_prefix=dict(img_path='test/thermal', seg_map_path='test/labels'),
    )
)
