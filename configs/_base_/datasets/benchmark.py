import sys

# Common settings of the benchmarks: short side 336, evaluation at the original size.
# The folder of all datasets: SCLIP_DATA_ROOT if set, otherwise `data/` in the clone or, for an
# installed package, in the current folder.
# (mmengine substitutes its variables with their quotes, and does not allow importing os.)
data_root = sys.modules['os'].environ.get('SCLIP_DATA_ROOT')
if not data_root:
    data_root = r"""{{fileDirname}}/../../../data"""
    if '/.mim/' in data_root:
        data_root = 'data'

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 336), keep_ratio=True),
    # After `Resize`, so that labels keep their original size.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(2048, 336), keep_ratio=True)],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
test_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline),
)
test_evaluator = dict(type='ConfusionMetric', iou_metrics=['mIoU'])
