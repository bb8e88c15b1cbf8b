_base_ = '../_base_/protocols/mess_floodnet.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='RFCLIP',
            global_weight=0.3,
            patch_weight=0.05,
            group_distance=0.06,
        )
    ),
)
