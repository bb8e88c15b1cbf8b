_base_ = './mess_cryonuseg.py'
