_base_ = '../_base_/protocols/proxyclip_context60.py'
