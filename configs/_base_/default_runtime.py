import sys

default_scope = 'mmseg'
custom_imports = dict(imports=['sclip_mmseg'])
env_cfg = dict(
    cudnn_benchmark=False,
    # On other systems, fork does not exist or is not safe.
    mp_cfg=dict(
        mp_start_method='fork' if sys.platform == 'linux' else 'spawn', opencv_num_threads=0
    ),
    # Seconds that a process waits for others; their share of a resumed run may take days.
    dist_cfg=dict(backend='nccl', timeout=7 * 24 * 3600),
)
model_wrapper_cfg = dict(type='FrozenModelWrapper')
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='OverlayVisualizer', vis_backends=vis_backends, name='visualizer', alpha=0.5)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='ProgressLoggerHook', log_metric_by_epoch=False),
    param_scheduler=None,
    checkpoint=None,
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='OverlayHook', interval=1),
)
custom_hooks = [dict(type='InputCheckHook')]
log_processor = dict(by_epoch=False)
log_level = 'INFO'
test_cfg = dict(type='ResumableTestLoop')
tta_model = dict(type='CLIPTTAModel')
