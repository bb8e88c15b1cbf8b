_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_context60.py',
]

# GCC+YFCC; the other published file is checkpoint='groupvit_gcc_redcap'.
model = dict(image_encoder=dict(background=0.35), text_head=dict(queries='groupvit_context59'))
