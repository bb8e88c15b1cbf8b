_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_dark_zurich',
        data_root=_base_.data_root + '/mess/Dark_Zurich',
        data_prefix=dict(
            img_path='rgb_anon/val/night/GOPR0356',
            seg_map_path='annotations_detectron2/val',
        ),
        img_suffix='_rgb_anon.png',
        seg_map_suffix='_gt_labelIds.png',
    )
)
