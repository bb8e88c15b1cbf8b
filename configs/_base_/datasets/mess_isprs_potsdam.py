_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_isprs_potsdam',
        data_root=_base_.data_root + '/mess/ISPRS_Potsdam',
        data_prefix=dict(
            img_path='images_detectron2/test/irrg',
            seg_map_path='annotations_detectron2/test',
        ),
    )
)
