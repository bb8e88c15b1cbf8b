# One protocol for all methods: short side 336, and the values in the model config.
_base_ = './ade847.py'
