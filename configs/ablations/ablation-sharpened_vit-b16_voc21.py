_base_ = '../_base_/protocols/sclip_voc21.py'

model = dict(image_encoder=dict(attention=dict(type='CLIPAttention', sharpness=2.0)))
