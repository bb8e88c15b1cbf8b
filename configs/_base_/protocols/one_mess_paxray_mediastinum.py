_base_ = './mess_paxray_mediastinum.py'
