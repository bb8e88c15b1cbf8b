_base_ = '../_base_/protocols/sclip_coco_stuff164k.py'
