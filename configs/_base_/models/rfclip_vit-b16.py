# The values of RF-CLIP's program for ADE20K.
_base_ = './clip_vit-b16.py'

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
