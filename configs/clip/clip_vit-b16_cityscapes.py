_base_ = '../_base_/protocols/sclip_cityscapes.py'
