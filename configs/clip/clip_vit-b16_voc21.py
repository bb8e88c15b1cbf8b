_base_ = '../_base_/protocols/sclip_voc21.py'
