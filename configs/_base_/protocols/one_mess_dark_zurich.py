_base_ = './mess_dark_zurich.py'
