_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='PascalVOC20Dataset',
        data_root=_base_.data_root + '/VOCdevkit/VOC2012',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
    )
)
