_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_coco_object.py',
]

# GCC+YFCC; the other published file is checkpoint='groupvit_gcc_redcap'.
model = dict(image_encoder=dict(background=0.95), text_head=dict(queries='things_coco_object'))
