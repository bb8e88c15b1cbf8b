_base_ = '../_base_/protocols/context59.py'
