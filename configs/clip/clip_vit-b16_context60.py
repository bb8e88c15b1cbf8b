_base_ = '../_base_/protocols/sclip_context60.py'
