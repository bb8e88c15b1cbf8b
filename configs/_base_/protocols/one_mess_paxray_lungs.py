_base_ = './mess_paxray_lungs.py'
