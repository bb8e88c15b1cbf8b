_base_ = './ovstitcher_vit-b16_ade20k.py'

model = dict(image_encoder=dict(clip='MetaCLIP-B/16', round_weights=False))
