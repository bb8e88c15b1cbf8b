_base_ = '../_base_/protocols/trident_coco_stuff164k.py'
