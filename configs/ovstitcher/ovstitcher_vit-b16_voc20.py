_base_ = '../_base_/protocols/ovstitcher_voc20.py'

model = dict(region_masks=_base_.data_root + '/region_masks/voc/{stem}.npz')
