_base_ = '../_base_/protocols/trident_ade847.py'
