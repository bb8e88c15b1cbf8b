_base_ = './mess_cwfid.py'
