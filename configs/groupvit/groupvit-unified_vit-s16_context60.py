_base_ = [
    '../_base_/models/groupvit_vit-s16.py',
    '../_base_/protocols/unified_context60.py',
]

# The threshold of the published number is unknown; this is GroupViT's own.
model = dict(
    image_encoder=dict(checkpoint='groupvit_gcc_redcap', background=0.35),
    text_head=dict(queries='context59'),
)
