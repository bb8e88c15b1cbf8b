_base_ = './mess_isprs_potsdam.py'
