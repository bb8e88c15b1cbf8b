_base_ = './talk2dino_vit-b14_context60.py'

model = dict(
    image_encoder=dict(refine=dict(type='PAMR', num_steps=10, dilations=(1, 2, 4, 8, 12, 24))),
)
