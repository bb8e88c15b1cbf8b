_base_ = '../_base_/protocols/sclip_voc20.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.4,
            patch_weight=0.02,
            group_distance=0.1,
        )
    ),
)
