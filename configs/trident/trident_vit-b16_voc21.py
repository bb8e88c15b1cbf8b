_base_ = '../_base_/protocols/trident_voc21.py'
