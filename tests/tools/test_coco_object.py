import numpy as np
from PIL import Image

from sclip_mmseg.datasets.preparation.converters import OBJECT_IDS
from sclip_mmseg.datasets.preparation.labels import map_ids


def to_object_labels(raw):
    return map_ids(raw, OBJECT_IDS, 'the label map')


def test_ids():
    # person, bicycle; fire hydrant, stop sign; toothbrush, banner (stuff); void.
    raw = np.array([[0, 1], [10, 12], [89, 91], [181, 255]], dtype=np.uint8)
    assert to_object_labels(raw).tolist() == [[1, 2], [11, 12], [80, 0], [0, 0]]


def test_against_the_train_ids_of_coco_stuff(shared):
    folder = shared / 'data/coco_stuff164k/annotations/val2017'
    paths = [path for path in folder.iterdir() if path.stem.isdigit()]
    assert paths
    for path in paths:
        train = np.array(Image.open(folder / f'{path.stem}_labelTrainIds.png')).astype(int)
        ours = to_object_labels(np.array(Image.open(path)))
        assert (ours == np.where(train < 80, train + 1, 0)).all()
