_base_ = '../_base_/protocols/sclip_voc21.py'

model = dict(image_encoder=dict(method=dict(type='GEM')))
