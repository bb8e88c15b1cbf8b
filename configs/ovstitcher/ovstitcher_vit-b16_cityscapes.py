_base_ = '../_base_/protocols/ovstitcher_cityscapes.py'

model = dict(region_masks=_base_.data_root + '/region_masks/city/{stem}.npz')
