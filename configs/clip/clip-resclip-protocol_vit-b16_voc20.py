_base_ = '../_base_/protocols/resclip_voc20.py'
