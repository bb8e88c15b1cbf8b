_base_ = [
    '../models/clip_vit-b16.py',
    '../datasets/coco_stuff164k.py',
    '../default_runtime.py',
]

model = dict(
    text_head=dict(queries='coco_stuff'),
)
# Only SCLIP evaluates this benchmark at short side 448.
test_pipeline = _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (2048, 448)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
