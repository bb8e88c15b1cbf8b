_base_ = '../_base_/protocols/proxyclip_ade20k.py'
