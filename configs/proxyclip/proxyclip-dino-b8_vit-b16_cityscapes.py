_base_ = '../_base_/protocols/proxyclip_cityscapes.py'
