_base_ = [
    '../_base_/models/talk2dino_vit-b14.py',
    '../_base_/protocols/unified_coco_object.py',
]

model = dict(
    image_encoder=dict(clean_background=True),
    text_head=dict(queries='things_coco_object'),
    test_cfg=dict(background=0.55),
)
