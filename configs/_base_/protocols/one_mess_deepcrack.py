_base_ = './mess_deepcrack.py'
