_base_ = '../_base_/protocols/trident_coco_object.py'
