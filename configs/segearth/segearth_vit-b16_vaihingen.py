_base_ = '../_base_/protocols/segearth_vaihingen.py'

model = dict(
    image_encoder=dict(
        method=dict(type='SegEarth'),
        upsampler=dict(type='SimFeatUp', checkpoint='xclip_jbu_one_million_aid'),
    )
)
