_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_deepcrack',
        data_root=_base_.data_root + '/mess/DeepCrack',
        data_prefix=dict(img_path='test_img', seg_map_path='annotations_detectron2/test'),
    )
)
