"""The shipped configs hold the published values, and the metafiles are theirs."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import BENCHMARKS, ROOT, load_config
from mmengine.config import Config
from mmengine.fileio import load

from sclip_mmseg.models.test_cfg import read_test_cfg
from sclip_mmseg.utils.spelling import check_config

sys.path.insert(0, str(ROOT / 'tools/misc'))

import make_metafiles

CONFIGS = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent.name != '_base_')
# short side, logit_scale, prob_thd, area_thd, query list, reduce_zero_label
PUBLISHED = {
    'voc21': (336, 65, 0.1, 0.1, 'voc21'),
    'voc20': (336, 40, 0, None, 'voc20'),
    'context60': (336, 50, 0.1, None, 'context60'),
    'context59': (336, 40, 0, None, 'context59'),
    'coco_object': (336, 50, 0.1, None, 'coco_object'),
    'coco_stuff164k': (448, 40, 0, None, 'coco_stuff'),
    'coco_stuff10k': (336, 40, 0, None, 'coco_stuff'),
    'cityscapes': (560, 40, 0, None, 'cityscapes'),
    'ade20k': (336, 40, 0, None, 'ade20k'),
}


@pytest.mark.parametrize('benchmark', BENCHMARKS)
def test_sclip(benchmark):
    side, logit_scale, prob_thd, area_thd, queries = PUBLISHED[benchmark]
    cfg = load_config(f'sclip_vit-b16_{benchmark}')
    assert cfg.model.image_encoder == dict(
        type='CLIPImageEncoder', clip='ViT-B/16', method=dict(type='SCLIP')
    )
    assert cfg.model.text_head == dict(type='CLIPTextHead', templates='imagenet', queries=queries)
    assert cfg.model.test_cfg == dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        logit_scale=logit_scale,
        prob_thd=prob_thd,
        area_thd=area_thd,
    )
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    assert cfg.test_pipeline[1].scale == (2048, side)
    assert cfg.tta_pipeline[1].transforms[0][0].scale == (2048, side)
    assert cfg.test_dataloader.batch_size == 1


# short side, logit_scale, prob_thd, area_thd
SCCLIP = {
    'voc21': (336, 50, 0.15, 0.1),
    'voc20': (336, 40, 0, None),
    'context60': (336, 40, 0.15, None),
    'context59': (336, 40, 0, None),
    'coco_object': (336, 55, 0.35, None),
    'coco_stuff164k': (336, 40, 0, None),
    'cityscapes': (560, 40, 0, None),
    'ade20k': (336, 40, 0, None),
}


@pytest.mark.parametrize('benchmark', SCCLIP)
def test_scclip(benchmark):
    side, logit_scale, prob_thd, area_thd = SCCLIP[benchmark]
    cfg = load_config(f'scclip_vit-b16_{benchmark}')
    assert cfg.model.image_encoder.method == dict(type='SCCLIP')
    assert cfg.model.text_head.queries == PUBLISHED[benchmark][4]
    assert cfg.model.test_cfg == dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        logit_scale=logit_scale,
        prob_thd=prob_thd,
        area_thd=area_thd,
    )
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (2048, side)


@pytest.mark.parametrize('benchmark', SCCLIP)
def test_gem_is_in_the_protocol_of_sclip(benchmark):
    sclip, gem = (load_config(f'{method}_vit-b16_{benchmark}') for method in ('sclip', 'gem'))
    assert gem.model.image_encoder.pop('method') == dict(type='GEM')
    sclip.model.image_encoder.pop('method')
    assert gem.to_dict() == sclip.to_dict()


@pytest.mark.parametrize('benchmark', BENCHMARKS)
def test_pamr_changes_nothing_else(benchmark):
    plain = load_config(f'sclip_vit-b16_{benchmark}')
    refined = load_config(f'sclip-pamr10_vit-b16_{benchmark}')
    assert refined.model.pop('refine') == dict(type='PAMR', num_steps=10, dilations=(8, 16))
    assert refined.to_dict() == plain.to_dict()


def test_repaired_list():
    cfg = load_config('sclip_vit-b16_coco_object-repaired')
    assert cfg.model.text_head.queries == 'coco_object_repaired'


def test_data_root_is_beside_the_configs_or_where_the_environment_says(monkeypatch):
    cfg = load_config('sclip_vit-b16_voc20')
    root = cfg.test_dataloader.dataset.data_root
    assert root.endswith('data/VOCdevkit/VOC2012')
    assert (ROOT / 'configs/_base_/datasets').as_posix() in root
    monkeypatch.setenv('SCLIP_DATA_ROOT', '/my data')
    cfg = load_config('sclip_vit-b16_voc20')
    assert cfg.test_dataloader.dataset.data_root == '/my data/VOCdevkit/VOC2012'


@pytest.mark.parametrize('name', ["o'brien", 'a "b"', "'''", r'C:\new', '{{x}}', '"""'])
def test_any_name_of_a_data_root(monkeypatch, name):
    monkeypatch.setenv('SCLIP_DATA_ROOT', f'/{name}/data')
    assert load_config('sclip_vit-b16_voc21').data_root == f'/{name}/data'


def test_a_clone_in_a_folder_with_quotes(monkeypatch, tmp_path):
    monkeypatch.delenv('SCLIP_DATA_ROOT', raising=False)
    clone = tmp_path / 'o\'brien "x"'
    for folder in ('_base_', 'toy', 'sclip'):
        shutil.copytree(ROOT / 'configs' / folder, clone / 'configs' / folder)
    cfg = Config.fromfile(clone / 'configs/toy/sclip_toy_voc21.py')
    assert Path(cfg.data_root).resolve() == clone / 'data'
    assert Path(cfg.toy).resolve() == clone / 'data/toy'


def test_all_are_valid():
    assert len(CONFIGS) > 100
    for path in CONFIGS:
        cfg = load_config(path.stem)
        check_config(cfg)
        read_test_cfg(cfg.model.test_cfg)


def test_metafiles_are_up_to_date(monkeypatch, capsys):
    read = SimpleNamespace(fromfile=lambda path: load_config(path.stem))
    monkeypatch.setattr(make_metafiles, 'Config', read)
    with pytest.raises(SystemExit) as stop:
        make_metafiles.main(['--check'])
    assert not stop.value.code, capsys.readouterr().out


def test_every_config_is_in_the_model_index():
    index = load(ROOT / 'model-index.yml')
    listed = [model['Config'] for path in index['Import'] for model in load(ROOT / path)['Models']]
    assert sorted(listed) == sorted(path.relative_to(ROOT).as_posix() for path in CONFIGS)
