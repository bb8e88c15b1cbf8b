import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / 'tools/dataset_converters'))

import coco_object
from coco_object import to_object_labels


@pytest.fixture
def run(monkeypatch):
    """Run the converter in this process."""

    def run(*arguments):
        monkeypatch.setattr('sys.argv', ['coco_object.py', *map(str, arguments)])
        coco_object.main()

    return run


def test_ids():
    # person, bicycle; street sign (unused), stop sign; toothbrush, banner (stuff); void.
    raw = np.array([[0, 1], [11, 12], [89, 91], [181, 255]], dtype=np.uint8)
    assert to_object_labels(raw).tolist() == [[1, 2], [0, 12], [80, 0], [0, 0]]


def test_against_the_train_ids_of_coco_stuff(shared):
    folder = shared / 'data/coco_stuff164k/annotations/val2017'
    paths = [path for path in folder.iterdir() if path.stem.isdigit()]
    assert paths
    for path in paths:
        train = np.array(Image.open(folder / f'{path.stem}_labelTrainIds.png')).astype(int)
        ours = to_object_labels(np.array(Image.open(path)))
        assert (ours == np.where(train < 80, train + 1, 0)).all()


def _make_stuff(root):
    for kind, name, mode in (('images', '7.jpg', 'RGB'), ('annotations', '7.png', 'L')):
        (root / kind / 'val2017').mkdir(parents=True)
        Image.new(mode, (5, 4)).save(root / kind / 'val2017' / name)
    return root


def test_conversion_leaves_its_input_alone_and_continues(tmp_path, run):
    source, out = _make_stuff(tmp_path / 'stuff'), tmp_path / 'object'
    before = sorted(source.rglob('*'))
    run(source, out)
    label = out / 'annotations/val2017/7_instanceTrainIds.png'
    assert (np.array(Image.open(label)) == 1).all()
    assert (out / 'images/val2017/7.jpg').stat().st_size
    written = label.stat().st_mtime_ns
    run(source, out)
    assert label.stat().st_mtime_ns == written
    assert sorted(source.rglob('*')) == before


def test_nothing_to_convert(tmp_path, run, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / 'out')
    assert 'holds no pixel map' in capsys.readouterr().err
