# tools/train_projection.py writes the projection.
_base_ = '../_base_/protocols/sclip_coco_stuff164k.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='LearnedCSA',
            projection=r"""{{fileDirname}}/../../work_dirs/projections/vit-b16_coco_stuff164k.pt""",
        )
    )
)
