_base_ = '../_base_/protocols/cityscapes.py'

model = dict(
    image_encoder=dict(method=dict(type='PEARL', alpha=0.3)),
    refine=dict(type='LaplacianPropagation', cells=224),
)
