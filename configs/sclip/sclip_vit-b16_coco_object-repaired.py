# The published list has `bed` both as background and as a class, which is then never predicted.
_base_ = './sclip_vit-b16_coco_object.py'

model = dict(text_head=dict(queries='coco_object_repaired'))
