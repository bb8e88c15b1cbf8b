_base_ = '../_base_/protocols/trident_cityscapes.py'
