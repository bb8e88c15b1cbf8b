_base_ = './mess_pst900.py'
