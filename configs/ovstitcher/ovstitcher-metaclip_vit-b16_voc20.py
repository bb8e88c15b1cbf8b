_base_ = './ovstitcher_vit-b16_voc20.py'

model = dict(image_encoder=dict(clip='MetaCLIP-B/16', round_weights=False))
