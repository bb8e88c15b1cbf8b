_base_ = '../_base_/protocols/proxyclip_context59.py'
