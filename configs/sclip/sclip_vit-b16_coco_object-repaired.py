# The published list has `bed` as background and as a class, so the class is never predicted.
_base_ = './sclip_vit-b16_coco_object.py'

model = dict(text_head=dict(queries='coco_object_repaired'))
