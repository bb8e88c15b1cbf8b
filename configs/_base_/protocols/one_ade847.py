# One protocol for all methods: short side 336, and what is stated in the model.
_base_ = './ade847.py'
