_base_ = './corrclip_vit-b16_voc21.py'

model = dict(
    image_encoder=dict(proxy=dict(checkpoint='hf:facebook/dinov3-vitb16-pretrain-lvd1689m')),
    test_cfg=dict(pad_multiple=16),
)
