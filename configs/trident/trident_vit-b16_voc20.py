_base_ = '../_base_/protocols/trident_voc20.py'
