_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_context59.py',
]

model = dict(
    image_encoder=dict(checkpoint='groupvit_gcc_redcap'),
    text_head=dict(queries='context59'),
)
