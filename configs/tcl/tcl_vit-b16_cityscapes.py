_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_cityscapes.py',
]

model = dict(text_head=dict(queries='plain_cityscapes'))
