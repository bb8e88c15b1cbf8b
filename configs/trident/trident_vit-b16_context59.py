_base_ = '../_base_/protocols/trident_context59.py'
