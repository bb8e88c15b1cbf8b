_base_ = './mess_uavid.py'
