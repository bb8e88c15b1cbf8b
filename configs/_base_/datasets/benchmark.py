import sys

# What the benchmarks share: short side 336, evaluation at the original size.
# The folder of all datasets: what the environment says, else `data/` of the clone, or, of an
# installed package, of the current folder.
# (mmengine's own variables are put into this text with all their quotes; it refuses to import os.)
data_root = sys.modules['os'].environ.get('SCLIP_DATA_ROOT')
if not data_root:
    data_root = r"""{{fileDirname}}/../../../data"""
    if '/.mim/' in data_root:
        data_root = 'data'

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 336), keep_ratio=True),
    # After `Resize`, so that labels stay at their original size.
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
