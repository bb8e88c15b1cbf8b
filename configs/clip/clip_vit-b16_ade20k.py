_base_ = '../_base_/protocols/sclip_ade20k.py'
