# tools/train_projection.py writes the projection.
_base_ = '../_base_/protocols/context59.py'

model = dict(
    image_encoder=dict(
        method=dict(
            type='LearnedCSA',
            projection=r"""{{fileDirname}}/../../work_dirs/projections/vit-b16_context59.pt""",
        )
    )
)
