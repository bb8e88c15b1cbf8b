"""Benchmarks with FolderDataset, on small datasets in CAT-Seg's and MESS's layouts."""

import numpy as np
import pytest
from helpers import ROOT, load_config
from PIL import Image

from sclip_mmseg.config import read_config
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.datasets.benchmarks import BENCHMARKS
from sclip_mmseg.datasets.checks import load_dataset
from sclip_mmseg.datasets.preparation.check import check
from sclip_mmseg.evaluation import evaluate
from sclip_mmseg.registry import in_scope

MANY = 'ade847', 'context459'  # 16 bits, and 65535 is ignored
NAMES = [name for name, record in BENCHMARKS.items() if record.dataset == 'FolderDataset']


def _make(name, root):
    """Write the files of two images in a benchmark's layout; return the label of both."""
    cfg = read_config(str(ROOT / f'configs/_base_/datasets/{name}.py'))
    dataset = cfg.test_dataloader.dataset
    assert dataset.data_root.startswith(str(root))
    folders = [
        root / dataset.data_root / dataset.data_prefix[k] for k in ('img_path', 'seg_map_path')
    ]
    last = load_queries(name).num_classes - 1
    if name in MANY:
        label = np.array([[0, 254, 255, 256], [1, 255, last, 65535]], np.uint16)
    else:
        label = np.array([[0, 0, last, last], [0, last, last, 255]], np.uint8)
    label = label.repeat(20, 0).repeat(20, 1)
    suffixes = (
        dataset.get('img_suffix') or '.jpg',
        dataset.get('seg_map_suffix') or ('.tif' if name in MANY else '.png'),
    )
    pixels = np.random.default_rng(0).integers(0, 255, (*label.shape, 3), dtype=np.uint8)
    for content, folder, suffix in zip((pixels, label), folders, suffixes):
        folder.mkdir(parents=True)
        for stem in ('a', 'b'):
            Image.fromarray(content).save(folder / f'{stem}{suffix}')
    if 'ann_file' in dataset or dataset.get('labelled_only'):
        Image.fromarray(pixels).save(folders[0] / f'other{suffixes[0]}')
    if 'ann_file' in dataset:
        split = root / dataset.data_root / dataset.ann_file
        split.parent.mkdir(parents=True)
        split.write_text('a\nb\n')
    return label


@pytest.mark.parametrize('name', NAMES)
def test_a_layout(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(tmp_path))
    label = _make(name, tmp_path)
    cfg = load_config(f'sclip_vit-b16_{name}')
    with in_scope():
        dataset = load_dataset(cfg.test_dataloader.dataset)
    assert len(dataset) == 2
    assert (dataset[0]['data_samples'].gt_sem_seg.data[0].numpy() == label).all()
    ignored = 65535 if name in MANY else 255
    assert dataset.ignore_index == ignored == cfg.test_evaluator.get('ignore_index', 255)
    assert check(name, partial=True)
    occur, count = len(np.unique(label)) - 1, load_queries(name).num_classes
    assert f'{occur} of {count} classes occur' in capsys.readouterr().out


@pytest.mark.parametrize('name', MANY)
def test_class_255_counts_and_65535_does_not(name, clip_path, tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(tmp_path))
    label, queries = _make(name, tmp_path), load_queries(name)
    count = len(queries.queries)
    np.savez(
        tmp_path / 'text.npz',
        queries=np.array(queries.queries),
        class_ids=np.array(queries.class_ids),
        embeddings=np.random.default_rng(0).standard_normal((count, 32)),
    )
    cfg = load_config(f'sclip_vit-b16_{name}', clip_path)
    cfg.model.text_head.embeddings = str(tmp_path / 'text.npz')
    cfg.test_pipeline[1].scale = (2048, 112)
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    cfg.model.test_cfg.update(crop_size=(112, 112), stride=(112, 112))
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    result = evaluate(cfg, work_dir=tmp_path / 'work', quiet=True)
    labels = result.confusion().sum(1)
    assert (labels == 2 * np.bincount(label[label != 65535], minlength=count)).all()
    assert labels[255] and np.isfinite(result.mIoU)


@pytest.mark.parametrize('name', NAMES)
def test_a_name_is_a_query(name):
    """Whole lines are queries, as in the original programs: a comma is part of a name."""
    queries = load_queries(name)
    assert queries.queries == queries.class_names == load_queries(f'plain_{name}').queries
    assert len({*queries.queries}) == queries.num_classes
    if name in MANY:
        assert queries.num_classes == int(name[-3:])
    assert name != 'ade847' or 'building, edifice' in queries.queries
