_base_ = './mess_bdd100k.py'
