_base_ = './mess_floodnet.py'
