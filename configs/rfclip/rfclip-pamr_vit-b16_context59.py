_base_ = './rfclip_vit-b16_context59.py'

model = dict(refine=dict(type='PAMR', num_steps=10, dilations=(8, 16)))
