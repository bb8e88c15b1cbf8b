_base_ = './benchmark.py'

# Files as prepared by CAT-Seg's program: 16-bit labels, 65535 for ignored pixels.
test_dataloader = dict(
    dataset=dict(
        type='FolderDataset',
        classes='context459',
        ignored=65535,
        data_root=_base_.data_root + '/VOCdevkit/VOC2010',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='annotations_detectron2/pc459_val'),
        ann_file='ImageSets/SegmentationContext/val.txt',
    )
)
test_evaluator = dict(ignore_index=65535)
