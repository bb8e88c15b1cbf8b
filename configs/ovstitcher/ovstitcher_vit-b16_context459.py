_base_ = '../_base_/protocols/ovstitcher_context459.py'

model = dict(region_masks=_base_.data_root + '/region_masks/context/{stem}.npz')
