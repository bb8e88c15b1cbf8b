_base_ = './corrclip_vit-b16.py'

model = dict(
    image_encoder=dict(clip='ViT-B/16', round_weights=None, method=dict(type='OVStitcher')),
    test_cfg=dict(pad_multiple=1),
)
