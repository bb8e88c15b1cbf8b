_base_ = './clip_vit-b16.py'

model = dict(
    image_encoder=dict(
        clip='MetaCLIP-B/16',
        round_weights=False,
        method=dict(type='CorrCLIP'),
        proxy=dict(checkpoint='dino_vitb8'),
    ),
    postprocess=dict(type='RegionMajority'),
    # 56 is a multiple of the patch sizes of DINO and DINOv2.
    test_cfg=dict(crop_size=(336, 336), pad_multiple=56),
)
