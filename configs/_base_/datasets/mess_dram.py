_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='mess_dram',
        data_root=_base_.data_root + '/mess/DRAM_processed',
        data_prefix=dict(
            img_path='images_detectron2/test',
            seg_map_path='annotations_detectron2/test',
        ),
    )
)
