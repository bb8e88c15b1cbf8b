_base_ = '../_base_/protocols/resclip_voc21.py'
