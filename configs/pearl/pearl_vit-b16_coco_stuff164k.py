_base_ = '../_base_/protocols/resclip_coco_stuff164k.py'

model = dict(
    image_encoder=dict(method=dict(type='PEARL')),
    refine=dict(type='LaplacianPropagation'),
)
