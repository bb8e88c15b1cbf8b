_base_ = './mess_paxray_bones.py'
