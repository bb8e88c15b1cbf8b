_base_ = './mess_dram.py'
