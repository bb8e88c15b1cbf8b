_base_ = [
    '../models/trident_vit-b16.py',
    '../datasets/voc20.py',
    '../default_runtime.py',
]

model = dict(
    image_encoder=dict(method=dict(cos_fac=0.0)),
    text_head=dict(queries='proxyclip_voc20'),
    postprocess=dict(type='SAMRefinement', coarse_thresh=0.2),
    test_cfg=dict(stride=(112, 112)),
)
