_base_ = '../_base_/protocols/ovstitcher_ade847.py'

model = dict(region_masks=_base_.data_root + '/region_masks/ade847/{stem}.npz')
