_base_ = '../_base_/protocols/segearth_xbd.py'

model = dict(
    image_encoder=dict(
        method=dict(type='SegEarth', class_weight=0.0),
        upsampler=dict(type='SimFeatUp', checkpoint='xclip_jbu_one_million_aid'),
    )
)
