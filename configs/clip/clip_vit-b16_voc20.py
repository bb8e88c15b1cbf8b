_base_ = '../_base_/protocols/sclip_voc20.py'
