_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_foodseg',
        data_root=_base_.data_root + '/mess/FoodSeg103',
        data_prefix=dict(img_path='Images/img_dir/test', seg_map_path='Images/ann_dir/test'),
    )
)
