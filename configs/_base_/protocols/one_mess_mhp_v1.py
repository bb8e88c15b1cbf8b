_base_ = './mess_mhp_v1.py'
