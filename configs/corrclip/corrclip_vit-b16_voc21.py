_base_ = '../_base_/protocols/corrclip_voc21.py'

model = dict(region_masks=_base_.data_root + '/region_masks/voc/{stem}.npz')
