_base_ = '../_base_/protocols/resclip_ade20k.py'
