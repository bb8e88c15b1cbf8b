_base_ = [
    '../_base_/models/trident_vit-b16.py',
    '../_base_/datasets/mess_suim.py',
    '../_base_/default_runtime.py',
]

model = dict(
    text_head=dict(queries='mess_suim'),
    postprocess=dict(type='SAMRefinement', coarse_thresh=0.2),
)
