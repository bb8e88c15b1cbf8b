_base_ = '../_base_/protocols/context59.py'

model = dict(image_encoder=dict(attention=dict(type='CLIPAttention', sharpness=2.0)))
