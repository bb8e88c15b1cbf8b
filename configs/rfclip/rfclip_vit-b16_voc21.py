_base_ = '../_base_/protocols/resclip_voc21.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.1,
            patch_weight=0.03,
            group_distance=0.1,
        )
    ),
)
