_base_ = './mess_atlantis.py'
