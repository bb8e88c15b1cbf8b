_base_ = [
    '../_base_/models/tcl_vit-b16.py',
    '../_base_/protocols/unified_coco_stuff164k.py',
]

model = dict(text_head=dict(queries='plain_coco_stuff'))
