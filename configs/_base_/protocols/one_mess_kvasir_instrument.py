_base_ = './mess_kvasir_instrument.py'
