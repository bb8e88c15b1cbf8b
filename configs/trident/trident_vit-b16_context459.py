_base_ = '../_base_/protocols/trident_context459.py'
