_base_ = './benchmark.py'

# Files as prepared by CAT-Seg's program: 16-bit labels, 65535 for ignored pixels.
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
