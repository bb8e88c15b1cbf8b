_base_ = './talk2dino_vit-b14_cityscapes.py'

model = dict(
    image_encoder=dict(tower=dict(checkpoint='dinov2_vitl14_reg'), head='vitl_mlp_infonce'),
)
