_base_ = '../_base_/protocols/resclip_context60.py'

model = dict(
    image_encoder=dict(method=dict(type='PEARL')),
    refine=dict(type='LaplacianPropagation'),
)
