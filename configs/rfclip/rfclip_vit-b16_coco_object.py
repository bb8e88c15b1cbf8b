_base_ = '../_base_/protocols/resclip_coco_object.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.25,
            patch_weight=0.01,
            group_distance=0.1,
        )
    ),
)
