"""COCO's JSON of segmentations, by pycocotools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...registry import WRITERS
from ...utils.errors import InputError
from ...utils.files import open_atomically
from ...visualization.painting import BACKGROUND
from ..outlines import join, trace
from .base import ClassInfo, Item, Pairs, Record, Writer, write_items

if TYPE_CHECKING:
    from ..segmentation import Segmentation

COCO = 'coco.json'
_PARTS = 'class', 'component'


@WRITERS.register_module('coco')
class CocoWriter(Writer):
    """Writes ``coco.json``: an annotation per class and image, without the background.

    Category ids are those of label maps; if one of them is 0, all are increased by 1.

    Args:
        per: ``'class'``, or ``'component'`` for an annotation per connected part.
        polygons: Whether to write polygons, with holes joined to their outlines; else run lengths.

    Raises:
        InputError: If an option cannot be used, or pycocotools is missing.
    """

    run_files = (COCO,)

    def __init__(self, per: str = _PARTS[0], polygons: bool = False) -> None:
        if per not in _PARTS:
            raise InputError(f"format coco: per='{per}' is not one of {', '.join(_PARTS)}")
        if not isinstance(polygons, bool):
            raise InputError(f'format coco: polygons={polygons!r} must be True or False')
        _pycocotools()
        self.per, self.polygons = per, polygons

    def write(self, item: Item) -> list[dict]:
        """See :class:`.base.Writer`; returns the annotations, without ids."""
        return annotate(item.result, self.per, self.polygons)

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        with open_atomically(out / COCO) as file:
            for key, items in to_dataset(records, classes).items():
                file.write(f'{"{" if key == "images" else ", "}"{key}": '.encode())
                write_items(file, items)
            file.write(b'}')


def to_dataset(
    records: Iterable[tuple[Record, Any]], classes: Sequence[ClassInfo]
) -> dict[str, Iterable[dict]]:
    """COCO's dict of images, annotations and categories, whose values are generators."""
    ids = _category_ids(classes)
    found = ((number, each) for number, (_, all_) in enumerate(records, 1) for each in all_)
    return dict(
        images=(
            dict(id=number, file_name=record.image, width=record.size[1], height=record.size[0])
            for number, (record, _) in enumerate(records, 1)
        ),
        annotations=(
            dict(id=id_, image_id=number, **each) for id_, (number, each) in enumerate(found, 1)
        ),
        categories=[dict(id=ids[each.id], name=each.name) for each in classes if each.id in ids],
    )


def _category_ids(classes: Sequence[ClassInfo]) -> dict[int, int]:
    """Id in label maps → category id, increased by 1 if a class has id 0.

    Readers such as Datumaro read 0 as no class.
    """
    ids = [each.id for each in classes if each.name != BACKGROUND]
    return {each: each + (0 in ids) for each in ids}


def annotate(result: Segmentation, per: str, polygons: bool) -> list[dict]:
    """The annotations of an image; for ``per`` and ``polygons`` see :class:`CocoWriter`."""
    coco = _pycocotools()
    annotations: list[dict] = []
    ids = _category_ids(result.classes)
    for each, mask in result.painted():
        for part, corner in _parts(mask, per):
            rle = coco.frPyObjects(_run_lengths(part, *corner, mask.shape), *mask.shape)
            rle['counts'] = rle['counts'].decode()
            outlines = map(join, trace(part) if polygons else [])
            annotations.append(
                dict(
                    category_id=ids[each.id],
                    segmentation=[(ring + corner).ravel().tolist() for ring in outlines] or rle,
                    area=int(part.sum()),
                    bbox=coco.toBbox(rle).tolist(),
                    iscrowd=0,
                )
            )
    return annotations


def _parts(mask: np.ndarray, per: str) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """A class's mask, or crops of its connected parts; each with its upper left corner, x and y."""
    from scipy import ndimage

    if per == 'class':
        yield mask, (0, 0)
        return
    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), start=1):
        yield numbers[rows, columns] == number, (columns.start, rows.start)


def _run_lengths(part: np.ndarray, left: int, top: int, size: Sequence[int]) -> dict[str, Any]:
    """Column-wise run lengths of a mask of height and width ``size``, 0 outside ``part``."""
    height, width = size
    below = height - top - part.shape[0]
    flat = np.pad(part, [(top, below), (0, 0)]).ravel('F')
    changes = np.flatnonzero(np.diff(flat, prepend=False))  # where runs begin
    starts = np.array([0, *(changes + left * height), height * width])
    if flat[-1] and left + part.shape[1] < width:
        starts = np.insert(starts, -1, (left + part.shape[1]) * height)
    return dict(size=[height, width], counts=np.diff(starts).tolist())


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(
            'format coco needs pycocotools: pip install "sclip_mmseg[coco]" (or pycocotools)'
        ) from error
    return mask
