_base_ = './mess_isaid.py'
