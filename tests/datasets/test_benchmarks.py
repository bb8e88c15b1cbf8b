"""One record describes a benchmark; its configs, lists and docs match it."""

from dataclasses import replace

import pytest
from helpers import ROOT, call_tool, load_config, read_tables
from mmseg.registry import DATASETS

from sclip_mmseg.benchmark import pairs
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.datasets.benchmarks import BENCHMARKS, usual_benchmarks
from sclip_mmseg.datasets.preparation.converters import CONVERTERS


def test_all_have_a_dataset_config():
    paths = ROOT.glob('configs/_base_/datasets/*.py')
    assert {path.stem for path in paths} - {'benchmark', 'remote_sensing'} == set(BENCHMARKS)


@pytest.mark.parametrize('name', BENCHMARKS)
def test_a_record_agrees_with_its_config(name):
    record = BENCHMARKS[name]
    cfg = load_config(f'sclip_vit-b16_{name}')
    assert cfg.test_dataloader.dataset.type == record.dataset
    assert cfg.model.text_head.queries == record.queries
    if record.dataset == 'FolderDataset':  # whose classes are those of the list
        assert cfg.test_dataloader.dataset.classes == record.queries
    else:
        classes = DATASETS.get(record.dataset).METAINFO['classes']
        assert load_queries(record.queries).num_classes == len(classes)
    if record.converter:
        assert record.converter in (*CONVERTERS, 'pascal_context')
        assert record.archives and all(archive.page for archive in record.archives)
    else:
        assert record.page and record.group and not record.archives


def test_the_page_says_where_files_are_had_and_lie():
    found = []
    for head, _, *lines in read_tables('docs/datasets.md'):
        for row in (dict(zip(head, cells)) for cells in lines if {'from', 'labels'} <= {*head}):
            name = row['benchmark'].strip('`')
            record, cfg = BENCHMARKS[name], load_config(f'sclip_vit-b16_{name}')
            assert row['from'] == f'[{record.title.removeprefix("MESS, ")}]({record.page})'
            folder = cfg.test_dataloader.dataset.data_root.removeprefix(f'{cfg.data_root}/')
            parts = cfg.test_dataloader.dataset.data_prefix
            images, labels = parts.img_path, parts.seg_map_path
            if record.group == 'MESS':
                told = [row[key] for key in ('classes', 'images, below `data/mess`', 'labels')]
                count = load_queries(record.queries).num_classes
                folder = folder.removeprefix('mess/')
                assert told == [f'{count}', f'`{folder}/{images}`', f'`{folder}/{labels}`']
            else:
                assert row['below the data root'] == f'`{folder}/{{{images},{labels}}}`'
                assert row['images'] == (' or '.join(map(str, record.images)) or '–')
            found.append(name)
    groups = [record.group for record in BENCHMARKS.values()]
    assert len(found) == len({*found}) == sum(each in ('MESS', 'remote sensing') for each in groups)


def test_titles_and_columns_tell_them_apart():
    for key in ('title', 'column', 'queries'):
        values = {getattr(record, key) for record in BENCHMARKS.values()}
        # COCO-Stuff's two splits share their list; masks of buildings and of roads are four each.
        assert len(values) == len(BENCHMARKS) - (key == 'queries') * (1 + 3 + 3)


def test_another_benchmark_is_a_record_and_configs(monkeypatch, tmp_path):
    folder = tmp_path / 'configs/sclip'
    folder.mkdir(parents=True)
    (folder / 'sclip_vit-b16_new.py').touch()
    (tmp_path / 'configs/published.yml').write_text('{sources: {}, rows: []}')
    record = replace(BENCHMARKS['ade20k'], name='new', images=(7,))
    monkeypatch.setitem(BENCHMARKS, 'new', record)
    monkeypatch.setattr(pairs, 'configs_dir', lambda: tmp_path / 'configs')
    monkeypatch.setattr(pairs, 'shipped_root', lambda: tmp_path)
    [pair] = pairs.find_pairs(['sclip'])
    assert (pair.benchmark, pair.config) == ('new', 'configs/sclip/sclip_vit-b16_new.py')
    assert record.compare_count(7) == ''
    assert 'the published split has 7' in record.compare_count(8)


def test_tools_name_them_all():
    for tool, names in (('prepare_data', usual_benchmarks()), ('check_data', BENCHMARKS)):
        text = call_tool(ROOT / f'tools/{tool}.py', '--help').stdout
        assert all(name in text for name in names)
