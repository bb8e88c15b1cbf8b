import sys

import numpy as np
from helpers import ROOT, run_tool
from PIL import Image

sys.path.insert(0, str(ROOT / 'tools/dataset_converters'))

from coco_object import to_object_labels

TOOL = ROOT / 'tools/dataset_converters/coco_object.py'


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


def test_conversion_leaves_its_input_alone_and_continues(tmp_path):
    source, out = _make_stuff(tmp_path / 'stuff'), tmp_path / 'object'
    before = sorted(source.rglob('*'))
    run_tool(TOOL, source, out)
    label = out / 'annotations/val2017/7_instanceTrainIds.png'
    assert (np.array(Image.open(label)) == 1).all()
    assert (out / 'images/val2017/7.jpg').stat().st_size
    written = label.stat().st_mtime_ns
    run_tool(TOOL, source, out)
    assert label.stat().st_mtime_ns == written
    assert sorted(source.rglob('*')) == before


def test_nothing_to_convert(tmp_path):
    result = run_tool(TOOL, tmp_path, tmp_path / 'out', check=False)
    assert result.returncode
    assert 'holds no pixel map' in result.stdout
