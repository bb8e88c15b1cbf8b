_base_ = './mess_chase_db1.py'
