_base_ = './talk2dino_vit-b14_cityscapes.py'

model = dict(
    image_encoder=dict(
        tower=dict(checkpoint='hf:facebook/dinov3-vitb16-pretrain-lvd1689m'),
        head='dinov3_vitb_mlp_infonce',
    ),
)
