_base_ = './mess_foodseg.py'
