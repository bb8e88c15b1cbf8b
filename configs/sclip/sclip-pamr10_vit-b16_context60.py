_base_ = './sclip_vit-b16_context60.py'

model = dict(refine=dict(type='PAMR', num_steps=10, dilations=(8, 16)))
