_base_ = '../_base_/protocols/proxyclip_context459.py'
