_base_ = './mess_paxray_diaphragm.py'
