_base_ = '../_base_/protocols/resclip_context60.py'
