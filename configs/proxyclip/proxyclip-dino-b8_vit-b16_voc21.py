_base_ = '../_base_/protocols/proxyclip_voc21.py'
