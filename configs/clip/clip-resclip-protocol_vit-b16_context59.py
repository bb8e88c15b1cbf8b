_base_ = '../_base_/protocols/resclip_context59.py'
