_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_coco_object.py',
]

model = dict(
    image_encoder=dict(checkpoint='groupvit_gcc_redcap', background=0.95),
    text_head=dict(queries='things_coco_object'),
)
