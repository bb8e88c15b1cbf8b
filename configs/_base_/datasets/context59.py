_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='PascalContextDataset59',
        data_root=_base_.data_root + '/VOCdevkit/VOC2010',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
        ann_file='ImageSets/SegmentationContext/val.txt',
    )
)
