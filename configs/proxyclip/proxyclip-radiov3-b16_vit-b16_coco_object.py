_base_ = './proxyclip-dino-b8_vit-b16_coco_object.py'

model = dict(
    image_encoder=dict(proxy=dict(checkpoint='hf:nvidia/C-RADIOv3-B')),
    test_cfg=dict(pad_multiple=16),
)
