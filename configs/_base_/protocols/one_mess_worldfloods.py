_base_ = './mess_worldfloods.py'
