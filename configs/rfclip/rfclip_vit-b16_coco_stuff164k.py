_base_ = '../_base_/protocols/resclip_coco_stuff164k.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.2,
            patch_weight=0.02,
            group_distance=0.02,
        )
    ),
    test_cfg=dict(mode='whole'),
)
