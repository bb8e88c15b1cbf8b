_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=_base_.data_root + '/coco_stuff10k',
        data_prefix=dict(img_path='images/test2014', seg_map_path='annotations/test2014'),
        reduce_zero_label=True,
    )
)
