_base_ = '../_base_/protocols/proxyclip_ade847.py'
