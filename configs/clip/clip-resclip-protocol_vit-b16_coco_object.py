_base_ = '../_base_/protocols/resclip_coco_object.py'
