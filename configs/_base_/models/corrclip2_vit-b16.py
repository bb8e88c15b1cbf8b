_base_ = './corrclip_vit-b16.py'

model = dict(
    image_encoder=dict(
        method=dict(type='CorrCLIPv2', merge_distance=None),
        proxy=dict(checkpoint='hf:nvidia/C-RADIOv3-L'),
    ),
    memory=dict(
        name='coco',
        clip='hf:apple/DFN2B-CLIP-ViT-B-16',
        neighbours=20,
        weight=0.5,
    ),
)
