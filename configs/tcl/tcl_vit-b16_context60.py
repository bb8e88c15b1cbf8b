_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_context60.py',
]

model = dict(text_head=dict(queries='context59'), test_cfg=dict(background=0.5))
