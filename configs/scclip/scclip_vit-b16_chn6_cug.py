_base_ = '../_base_/protocols/segearth_chn6_cug.py'

model = dict(image_encoder=dict(method=dict(type='SCCLIP')))
