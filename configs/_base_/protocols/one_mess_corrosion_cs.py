_base_ = './mess_corrosion_cs.py'
