_base_ = './mess_suim.py'
