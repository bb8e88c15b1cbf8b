_base_ = './talk2dino_vit-b14_context60.py'

model = dict(
    image_encoder=dict(tower=dict(checkpoint='dinov2_vitl14_reg'), head='vitl_mlp_infonce'),
    test_cfg=dict(background=0.54),
)
