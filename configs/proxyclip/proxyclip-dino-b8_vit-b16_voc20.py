_base_ = '../_base_/protocols/proxyclip_voc20.py'
