_base_ = './trident_vit-b16_coco_object.py'

model = dict(postprocess=None)
