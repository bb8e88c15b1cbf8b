_base_ = '../_base_/protocols/ovstitcher_ade20k.py'

model = dict(region_masks=_base_.data_root + '/region_masks/ade/{stem}.npz')
