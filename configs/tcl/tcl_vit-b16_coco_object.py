_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_coco_object.py',
]

model = dict(text_head=dict(queries='things_coco_object'), test_cfg=dict(background=0.5))
