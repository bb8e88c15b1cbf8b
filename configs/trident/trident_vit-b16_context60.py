_base_ = '../_base_/protocols/trident_context60.py'
