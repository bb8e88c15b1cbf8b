"""Methods and configs of a user's own, name lists and protocols in `sclip benchmark`."""

import copy
import functools
import sys

import pytest
from helpers import ROOT, call_tool, load_config
from mmseg.registry import DATASETS

from sclip_mmseg import InputError
from sclip_mmseg.benchmark.pairs import find_pairs
from sclip_mmseg.benchmark.suite import Options, _arguments, run_suite
from sclip_mmseg.config import read_config
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.datasets.benchmarks import BENCHMARKS
from sclip_mmseg.evaluation import Result
from sclip_mmseg.evaluation.preparation import prepare_config
from sclip_mmseg.registry import METHODS

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
OWN = """
from sclip_mmseg.models import LastBlockMethod
from sclip_mmseg.registry import METHODS


@METHODS.register_module()
class {name}(LastBlockMethod):
    keep_residual = False

    def pairs(self, tokens):
        return [(tokens.v, tokens.v)]


class Unregistered(LastBlockMethod):
    pass
"""
SMALL = ['model.test_cfg.crop_size=112', 'model.test_cfg.stride=112']


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the current folder with a method; gives its name."""
    (tmp_path / 'my_package').mkdir()
    name = f'Own{abs(hash(tmp_path))}'
    (tmp_path / 'my_package/value.py').write_text(OWN.format(name=name))
    monkeypatch.chdir(tmp_path)
    yield f'my_package.value:{name}'
    for module in ('my_package', 'my_package.value'):
        sys.modules.pop(module, None)
    METHODS._module_dict.pop(name, None)


def _config(pair, **kwargs):
    return prepare_config(**_arguments(pair, Options(work_dir=ROOT, **kwargs)))


def test_a_custom_method_has_the_configs_of_sclip(own):
    name = own.partition(':')[2]
    pairs = find_pairs([own, 'sclip'], ['voc21', 'ade20k'])
    assert [(pair.method, pair.benchmark) for pair in pairs] == [
        *((name, 'voc21'), ('sclip', 'voc21'), (name, 'ade20k'), ('sclip', 'ade20k'))
    ]
    assert [pair.published for pair in pairs] == [None, 59.63, None, 16.45]
    mine, sclip = map(_config, pairs[:2])
    assert mine.model.image_encoder.method == dict(type=name)
    mine.model.image_encoder.method = sclip.model.image_encoder.method
    assert mine.model == sclip.model
    with pytest.raises(InputError, match=r'write @METHODS.register_module\(\) above class Unreg'):
        find_pairs(['my_package.value:Unregistered'])


@pytest.mark.parametrize('command', ['benchmark', 'segment', 'evaluate'])
@pytest.mark.usefixtures('whole_configs', 'forked_pairs')
def test_commands_take_a_custom_method(own, command, tmp_path, voc_root, clip_path):
    name, voc = own.partition(':')[2], voc_root / 'VOCdevkit/VOC2012'
    options = ['--cfg-options', *SMALL]
    if command == 'benchmark':
        words = ['--methods', own, '--benchmarks', 'voc21', '--checkpoint', clip_path]
        words += ['--limit', 1, '--work-dir', 'out']
    elif command == 'segment':
        words = [voc / 'JPEGImages/image_0.jpg', '--classes', 'sky; cat', '--clip', clip_path]
        words += ['--method', own, '--out', 'out']
    else:
        words = ['--images', voc, '--classes', 'voc21', '--clip', clip_path, '--method', own]
        words += ['--out', 'out']
    env = {'SCLIP_DATA_ROOT': str(voc_root)}
    output = call_tool(CLI, command, *words, *options, cwd=tmp_path, env=env).stdout
    results = list((tmp_path / 'out').rglob('result.npz'))
    assert len(results) == (command != 'segment')
    if results:
        assert f'| {name} |' in output
        assert Result.load(results[0]).meta['method'] == name


def test_custom_imports_of_options_come_first(own):
    cfg = load_config('sclip_vit-b16_voc21')
    module, _, name = own.partition(':')
    options = {'custom_imports.imports': ['sclip_mmseg', module]}
    options['model.image_encoder.method.type'] = name
    prepare_config(cfg, cfg_options=options)
    with pytest.raises(InputError, match=f'{name}'):
        METHODS._module_dict.pop(name)
        prepare_config(cfg, cfg_options={'model.image_encoder.method.type': name})
    with pytest.raises(InputError, match='module absent does not exist on PYTHONPATH'):
        prepare_config(cfg, cfg_options={'custom_imports.imports': ['absent']})


def test_a_config_imports_from_the_current_folder(tmp_path, monkeypatch):
    """This includes configs of --print-config, and those in work directories."""
    (tmp_path / 'my_imported_module.py').write_text('FOUND = True')
    for name in ('my_imported_module', 'my_absent_module'):
        imports = f"custom_imports = dict(imports=['{name}'], allow_failed_imports=False)"
        (tmp_path / f'{name}_config.py').write_text(imports)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [each for each in sys.path if each])
    read_config('my_imported_module_config.py')
    assert sys.modules.pop('my_imported_module').FOUND
    with pytest.raises(InputError, match='module my_absent_module does not exist on PYTHONPATH'):
        read_config('my_absent_module_config.py')


def test_a_missing_import_in_a_custom_module_keeps_its_error(tmp_path, monkeypatch):
    (tmp_path / 'broken_module.py').write_text('import no_such_thing')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='no_such_thing'):
        find_pairs(['broken_module:X'])


def test_custom_configs(tmp_path):
    base = ROOT / 'configs/sclip/sclip_vit-b16_voc20.py'
    for name in ('my_first_voc20', 'my_second'):
        (tmp_path / f'{name}.py').write_text(f'_base_ = {str(base)!r}')
    own = "test_dataloader = dict(dataset=dict(type='FolderDataset', _delete_=True))"
    (tmp_path / 'other.py').write_text(f'_base_ = {str(base)!r}\n{own}')
    pairs = find_pairs(configs=[f'{tmp_path}/my_*.py', f'{tmp_path}/other.py'])
    assert [(pair.method, pair.benchmark) for pair in pairs] == [
        *(('my_first', 'voc20'), ('my_second', 'voc20'), ('other', 'FolderDataset'))
    ]
    assert [pair.name for pair in pairs[:2]] == ['my_first_voc20', 'my_second_voc20']
    assert len(find_pairs(['sclip'], ['voc20'], configs=[f'{tmp_path}/other.py'])) == 2
    with pytest.raises(InputError, match='config absent'):
        find_pairs(configs=['absent*.py'])
    with pytest.raises(InputError, match='--names plain is for the benchmarks that sclip'):
        find_pairs(configs=[f'{tmp_path}/other.py'], names=['plain'])


@pytest.mark.parametrize('name', BENCHMARKS)
def test_plain_lists_are_the_names_that_mmseg_has(name):
    record = BENCHMARKS[name]
    query_set = load_queries(f'plain_{record.queries}')
    classes = getattr(DATASETS.get(record.dataset), 'METAINFO', {}).get('classes')
    classes = classes or load_queries(record.queries).class_names  # of FolderDataset
    assert query_set.by_class == [[each] for each in classes]
    assert query_set.class_names == tuple(classes)


def test_name_lists():
    pairs = find_pairs(['sclip', 'tcl'], ['voc21'], names=['official', 'plain'])
    lists = [_config(pair).model.text_head.queries for pair in pairs]
    assert lists == ['voc21', 'plain_voc21', 'plain_voc20', 'plain_voc20']
    assert [pair.row for pair in pairs] == [
        'sclip',
        'sclip, plain names',
        'tcl',
        'tcl, plain names',
    ]
    assert pairs[1].name == 'sclip-plain_vit-b16_voc21'
    assert [pair.published for pair in pairs[:2]] == [59.63, None]
    with pytest.raises(InputError, match="--names 'plane' is not one of official, plain"):
        find_pairs(['sclip'], ['voc21'], names=['plane'])


_read_once = functools.cache(read_config)


@pytest.mark.parametrize('benchmark', BENCHMARKS)
def test_the_one_protocol(benchmark, monkeypatch):
    for module in ('benchmark.variants', 'evaluation.preparation'):
        monkeypatch.setattr(
            f'sclip_mmseg.{module}.read_config', lambda path: copy.deepcopy(_read_once(path))
        )
    methods, group = ['sclip'], BENCHMARKS[benchmark].group
    if benchmark != 'coco_stuff10k' and not group:
        methods += ['resclip-sclip', 'proxyclip-dino-b8', 'tcl', 'talk2dino']
    for method in methods:
        [pair] = find_pairs([method], [benchmark], protocols=['one'])
        cfg = _config(pair)
        values = cfg.model.test_cfg
        scale = (2048, 560 if benchmark == 'cityscapes' else 336)
        scale = (448, 448) if group == 'remote sensing' else scale
        assert cfg.test_dataloader.dataset.pipeline[1].scale == scale
        own = {'proxyclip-dino-b8': (336, 112)}.get(method)
        own = (448, 224) if method in ('tcl', 'talk2dino') else own
        if (method, benchmark) == ('proxyclip-dino-b8', 'cityscapes'):
            own = None  # its authors have 224 by 112 there
        crop, stride = own or (224, 112)
        assert (values.mode, values.crop_size, values.stride) == (
            'slide',
            (crop,) * 2,
            (stride,) * 2,
        )
        assert pair.note.startswith(f'own windows, {crop} by {stride}' if own else '')
        assert bool(pair.note) == bool(own)
        assert pair.published is None and pair.row == f'{method}, one protocol'
        if method in ('tcl', 'talk2dino'):
            assert values.activation is None and 'logit_scale' not in values
        else:
            thd = 0.1 if benchmark in ('voc21', 'context60', 'coco_object') else 0
            found = values.logit_scale, values.prob_thd, values.get('area_thd')
            assert found == (40, thd, None)


def test_the_one_protocol_of_what_takes_images_as_they_are():
    [pair] = find_pairs(['sam3'], ['voc21'], protocols=['one'])
    assert pair.note == 'images at their original size, no windows, own decision rule'
    assert not any('crop' in key or 'scale' in key or 'mode' in key for key in pair.options)


def test_the_one_protocol_as_a_base():
    for name in BENCHMARKS:
        cfg = _read_once(str(ROOT / f'configs/_base_/protocols/one_{name}.py'))
        assert cfg.model.text_head.queries == BENCHMARKS[name].queries
        assert cfg.test_dataloader.dataset.type == BENCHMARKS[name].dataset


@pytest.mark.usefixtures('forked_pairs')
def test_a_limited_run_prints_no_difference(voc_root, clip_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))
    options = dict(checkpoint=clip_path, work_dir=tmp_path, cfg_options=SMALL)
    again = dict(options, work_dir=tmp_path / 'boundaries')
    pairs = run_suite(['sclip'], ['voc20'], limit=1, names=['official', 'plain'], **options)
    [bounded] = run_suite(['sclip'], ['voc20'], limit=1, boundary_iou=True, **again)
    output = capsys.readouterr().out
    assert [pair.difference for pair in pairs] == [None, None]
    assert f'| sclip | {pairs[0].mIoU:.2f} |' in output
    assert f'| sclip, plain names | {pairs[1].mIoU:.2f} |' in output
    assert '| mBIoU |' in output and f'| sclip, voc20 | {bounded.mBIoU:.2f} | 1 |' in output
    assert bounded.mIoU == pairs[0].mIoU and pairs[0].mBIoU is None
    assert 'voc20, 30 names | clip.pt | short side 336, windows 112 by 112' in output
    assert 'plain_voc20, 20 names' in output
    assert (pairs[0].name_list, pairs[0].clip) == ('voc20, 30 names', 'clip.pt')
