_base_ = '../_base_/protocols/ade20k.py'
