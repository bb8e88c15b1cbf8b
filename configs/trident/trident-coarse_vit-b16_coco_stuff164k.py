_base_ = './trident_vit-b16_coco_stuff164k.py'

model = dict(postprocess=None)
