_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_voc21.py',
]

model = dict(text_head=dict(queries='plain_voc20'), test_cfg=dict(background=0.5))
