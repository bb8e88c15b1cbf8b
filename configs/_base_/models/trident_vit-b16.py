_base_ = './clip_vit-b16.py'

model = dict(
    image_encoder=dict(
        method=dict(type='Trident'),
        proxy=dict(checkpoint='dino_vitb16'),
        sam=dict(checkpoint='facebook/sam-vit-base'),
    ),
    test_cfg=dict(crop_size=(336, 336), stride=(224, 224)),
)
