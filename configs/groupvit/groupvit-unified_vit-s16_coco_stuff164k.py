_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_coco_stuff164k.py',
]

model = dict(
    image_encoder=dict(checkpoint='groupvit_gcc_redcap'),
    text_head=dict(queries='plain_coco_stuff'),
)
