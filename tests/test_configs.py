"""The shipped configs have the published values, and the metafiles match them."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, load_config
from mmengine.config import Config
from mmengine.fileio import load
from protocols import (
    check_runtime,
    config_name,
    expected_values,
    published_values,
    values_in_force,
)

from sclip_mmseg.benchmark.published import load_published
from sclip_mmseg.models import PLAIN_DICTS
from sclip_mmseg.models.test_cfg import read_test_cfg
from sclip_mmseg.utils.spelling import check_config

sys.path.insert(0, str(ROOT / 'tools/misc'))

import make_metafiles

CONFIGS = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent.name != '_base_')
#: Entries of the table, and programs of ../shared/public/protocols.json.
PROGRAMS = {
    'sclip': 'SCLIP',
    'resclip-naclip': 'ResCLIP',
    'scclip': 'SC-CLIP',
    'proxyclip-dino-b8': 'ProxyCLIP',
    'corrclip': 'CorrCLIP',
}
#: Keys there and in the table.
SAME = {
    **{key: key for key in ('short_side', 'long_side_at_most', 'keep_ratio')},
    **{key: key for key in ('mode', 'crop', 'stride', 'logit_scale', 'prob_thd', 'area_thd')},
    'rcs_tau': 'method.rcs.tau',
    'rcs_lambda': 'method.rcs.lam',
    'sfr_tau': 'method.sfr.tau',
    'sfr_lambda': 'method.sfr.lam',
    'temp_thd': 'method.sfr.temp_thd',
    'gaussian_std': 'method.base.std',
    'res_cls': 'method.class_weight',
    'beta': 'method.beta',
    'gamma': 'method.gamma',
    'dino_type': 'proxy',
}
#: The same, where the table counts from 1.
COUNTED_FROM_0 = {
    'pre_adjust_idx': 'method.similarity_block',
    'post_adjust_idx': 'method.edge_block',
    'multi_start_idx': 'method.level_blocks.0',
}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_hold_the_published_values(path):
    cfg = load_config(path.stem)
    assert values_in_force(cfg) == expected_values(path.stem)
    check_runtime(cfg)


def test_every_published_row_is_compared():
    rows = [row for row in load_published() if row.configs]
    names = {config_name(row, b) for row in rows for b in row.mIoU if b != 'average'}
    assert len(names) > 100 and names <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize('entry', PROGRAMS)
def test_the_table_has_what_the_programs_have(shared, entry):
    """The values were read from their configs and constructors."""
    program = json.loads((shared / 'public/protocols.json').read_text())[PROGRAMS[entry]]
    for benchmark, stated in program['benchmarks'].items():
        if benchmark in ('ade847', 'context459'):  # whose words are others there
            stated['query_sha256'] = published_values(entry, benchmark)['query_sha256']
        found = published_values(entry, benchmark.replace('city_scapes', 'cityscapes'))
        for key, value in stated.items():
            if key in SAME:
                assert look_up(found, SAME[key]) == value, (benchmark, key)
            if key in COUNTED_FROM_0:
                assert look_up(found, COUNTED_FROM_0[key]) == value + 1, (benchmark, key)
        assert stated['query_sha256'].startswith(found['query_sha256'])
        if benchmark != 'voc20':  # where their dataset reduces by itself
            assert found['reduce_zero_label'] == stated['reduce_zero_label']
        if entry == 'scclip':  # their end is not included
            assert found['method']['level_blocks'][-1] == stated['multi_end_idx']
        if 'pamr_stride' in stated:
            refine = published_values('sclip-pamr10', 'voc20')['refine']
            assert refine['dilations'] == stated['pamr_stride']


def look_up(values, key):
    """The value at a dotted key, None where there is none."""
    for part in key.split('.'):
        values = values[int(part)] if isinstance(values, list) else values.get(part)
    return values


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
        check_config(cfg, PLAIN_DICTS)
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
