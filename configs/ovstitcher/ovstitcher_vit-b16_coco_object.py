_base_ = '../_base_/protocols/ovstitcher_coco_object.py'

model = dict(region_masks=_base_.data_root + '/region_masks/coco/{stem}.npz')
