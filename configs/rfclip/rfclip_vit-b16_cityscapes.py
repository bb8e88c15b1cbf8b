_base_ = '../_base_/protocols/cityscapes.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.1,
            patch_weight=0.03,
            group_distance=0.14,
            global_from='window',
        )
    ),
)
