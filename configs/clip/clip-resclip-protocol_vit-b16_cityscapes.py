_base_ = '../_base_/protocols/resclip_cityscapes.py'
