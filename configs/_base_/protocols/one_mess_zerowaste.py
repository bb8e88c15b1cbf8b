_base_ = './mess_zerowaste.py'
