_base_ = './benchmark.py'

test_dataloader = dict(
    dataset=dict(
        type='COCOStuffDataset',
        data_root=_base_.data_root + '/coco_stuff164k',
        data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
    )
)
