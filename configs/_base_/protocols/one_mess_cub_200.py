_base_ = './mess_cub_200.py'
