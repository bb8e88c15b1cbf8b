_base_ = './tcl_vit-b16_context60.py'

model = dict(
    image_encoder=dict(refine=dict(type='PAMR', num_steps=10, dilations=(1, 2, 4, 8, 12, 24))),
    test_cfg=dict(background=0.4),
)
