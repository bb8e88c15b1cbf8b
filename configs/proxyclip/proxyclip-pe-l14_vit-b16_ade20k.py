_base_ = './proxyclip-dino-b8_vit-b16_ade20k.py'

model = dict(image_encoder=dict(proxy=dict(checkpoint='hf:facebook/PE-Spatial-L14-448')))
