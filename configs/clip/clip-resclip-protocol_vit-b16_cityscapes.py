_base_ = '../_base_/protocols/cityscapes.py'
