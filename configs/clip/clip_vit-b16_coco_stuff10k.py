_base_ = '../_base_/protocols/sclip_coco_stuff10k.py'
