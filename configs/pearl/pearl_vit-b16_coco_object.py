_base_ = '../_base_/protocols/resclip_coco_object.py'

model = dict(
    image_encoder=dict(method=dict(type='PEARL')),
    refine=dict(type='LaplacianPropagation'),
)
