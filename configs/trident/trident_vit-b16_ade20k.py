_base_ = '../_base_/protocols/trident_ade20k.py'
