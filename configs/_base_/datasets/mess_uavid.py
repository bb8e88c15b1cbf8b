_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_uavid',
        data_root=_base_.data_root + '/mess/uavid_v1.5',
        data_prefix=dict(
            img_path='images_detectron2/val',
            seg_map_path='annotations_detectron2/val',
        ),
    )
)
