_base_ = '../_base_/protocols/sclip_context59.py'
