_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_voc20.py',
]

model = dict(text_head=dict(queries='plain_voc20'))
