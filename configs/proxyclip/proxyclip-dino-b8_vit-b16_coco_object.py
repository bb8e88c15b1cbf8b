_base_ = '../_base_/protocols/proxyclip_coco_object.py'
