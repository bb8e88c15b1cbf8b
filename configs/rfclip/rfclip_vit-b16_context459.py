_base_ = '../_base_/protocols/context459.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.25,
            patch_weight=0.04,
            group_distance=0.09,
        )
    ),
)
