"""Misspelt names in configs are answered with the nearest valid ones."""

import pytest
from helpers import load_config

from sclip_mmseg import InputError
from sclip_mmseg.models import PLAIN_DICTS
from sclip_mmseg.utils.errors import nearest
from sclip_mmseg.utils.spelling import arguments, check_config


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('model.image_encoder.tpye', 'X', "CLIPImageEncoder has no 'tpye' (did you mean 'type'?)"),
        ('model.image_encoder.zzz', 1, "CLIPImageEncoder has no 'zzz': it takes clip, "),
        ('model.image_encoder.type', 'ClipImageEncoder', "(did you mean 'CLIPImageEncoder'?)"),
        ('test_dataloader.dataset.type', 'PascalVOC20Datset', "mean 'PascalVOC20Dataset'?)"),
        ('test_dataloader.dataset.type', 'zzz.Zebra', 'custom_imports'),
        ('test_dataloader.dataset.anfile', 'x', "has no 'anfile' (did you mean 'ann_file'?)"),
        (
            'test_dataloader.dataset.pipeline.1.scle',
            3,
            "Resize has no 'scle' (did you mean 'scale'",
        ),
        ('test_dataloader.bach_size', 3, "has no 'bach_size' (did you mean 'batch_size'?)"),
        ('test_dataloader.sampler.shufle', True, "(did you mean 'shuffle'?)"),
        ('test_evaluator.iou_metric', 'mIoU', "(did you mean 'iou_metrics'?)"),
        ('test_evaluator.type', 'IouMetrics', "(did you mean 'IoUMetric'?)"),
        ('test_cfg.resum', True, "ResumableTestLoop has no 'resum' (did you mean 'resume'?)"),
        ('custom_hooks.0.type', 'InputCheck', "(did you mean 'InputCheckHook'?)"),
        ('default_hooks.loger', {}, "has no 'loger' (did you mean 'logger'?)"),
        ('visualizer.alfa', 0.5, "OverlayVisualizer has no 'alfa' (did you mean 'alpha'?)"),
        ('visualizer.vis_backends.0.type', 'LocalBackend', "(did you mean 'LocalVisBackend'?)"),
        ('tta_pipeline.1.transforms.0.0.scle', 3, "Resize has no 'scle' (did you mean"),
        ('env_cfg.dist_cgf', {}, "has no 'dist_cgf' (did you mean 'dist_cfg'?)"),
    ],
)
def test_a_misspelt_name(key, value, message):
    cfg = load_config('sclip_vit-b16_voc20')
    cfg.merge_from_dict({key: value})
    with pytest.raises(InputError) as error:
        check_config(cfg, PLAIN_DICTS)
    assert str(error.value).startswith(key) and message in str(error.value)


@pytest.mark.parametrize(
    'wrong, right', [('test_evaluater', 'test_evaluator'), ('custom_hook', 'custom_hooks')]
)
def test_a_misspelt_key_at_the_top(wrong, right):
    cfg = load_config('sclip_vit-b16_voc20')
    cfg[wrong] = cfg[right]
    with pytest.raises(InputError, match=rf"'{wrong}' has no effect \(did you mean '{right}'\?\)"):
        check_config(cfg, PLAIN_DICTS)


def test_a_missing_key():
    cfg = load_config('sclip_vit-b16_voc20')
    cfg.modle = cfg.pop('model')
    with pytest.raises(InputError, match="has no 'model', only keys without effect: .*modle"):
        check_config(cfg, PLAIN_DICTS)


def test_a_misspelt_key_type():
    cfg = load_config('sclip_vit-b16_voc20')
    cfg.model.image_encoder.typ = cfg.model.image_encoder.pop('type')
    with pytest.raises(InputError, match=r"model.image_encoder.typ: did you mean 'type'\?"):
        check_config(cfg, PLAIN_DICTS)


@pytest.mark.parametrize(
    'key, value',
    [
        ('variable', 1),
        ('test_pipeline_2', []),
        ('model.refine', dict(type='PAMR', num_steps=3)),
        ('model.refine', dict(type='ConvModule', norm_cfg=dict(type='BN', requires_grad=True))),
        ('test_evaluator', dict(_delete_=True, type='Evaluator', metrics=[dict(type='IoUMetric')])),
        ('test_dataloader.collate_fn', dict(type='default_collate')),
        ('default_hooks.mine', dict(type='mmengine.hooks.IterTimerHook')),
        ('test_dataloader.dataset.type', 'mmseg.PascalVOCDataset'),
    ],
)
def test_valid_configs_pass(key, value):
    cfg = load_config('sclip_vit-b16_voc20')
    cfg.merge_from_dict({key: value})
    check_config(cfg, PLAIN_DICTS)


class Base:
    def __init__(self, first, second=None):
        pass


class Passes(Base):
    def __init__(self, *args, third=None, **kwargs):
        pass


class Keeps:
    def __init__(self, first, **kwargs):
        pass


class Nothing:
    pass


@pytest.mark.parametrize(
    'builder, expected',
    [
        (Base, (['first', 'second'], True)),
        (Passes, (['third', 'first', 'second'], True)),
        (Keeps, (['first'], False)),
        (Nothing, ([], True)),
        (nearest, (['name', 'known', 'cutoff'], True)),
    ],
)
def test_arguments(builder, expected):
    assert arguments(builder) == expected


def test_nearest():
    assert nearest('Fish', ['dish', 'FISH', 'dog']) == " (did you mean 'FISH'?)"
    assert nearest('zebra', ['dish', 'fish']) == ''
