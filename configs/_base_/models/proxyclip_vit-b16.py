_base_ = './clip_vit-b16.py'

model = dict(
    image_encoder=dict(method=dict(type='ProxyCLIP'), proxy=dict(checkpoint='dino_vitb8')),
    # 56 is a multiple of the patch sizes of DINO and DINOv2.
    test_cfg=dict(crop_size=(336, 336), pad_multiple=56),
)
