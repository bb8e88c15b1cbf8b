_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_suim',
        data_root=_base_.data_root + '/mess/SUIM',
        data_prefix=dict(img_path='TEST/images', seg_map_path='annotations_detectron2/test'),
    )
)
