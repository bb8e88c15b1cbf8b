_base_ = './benchmark.py'

# As CAT-Seg's program prepares the files: labels of 16 bits, 65535 where there is no class.
test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='ade847',
        ignored=65535,
        data_root=_base_.data_root + '/ADE20K_2021_17_01',
        data_prefix=dict(
            img_path='images_detectron2/validation',
            seg_map_path='annotations_detectron2/validation',
        ),
    )
)
test_evaluator = dict(ignore_index=65535)
