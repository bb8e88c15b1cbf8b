"""COCO's JSON of segmentations, by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...registry import WRITERS
from ...utils.errors import InputError
from ...utils.files import write_atomically
from ...visualization.painting import BACKGROUND
from ..outlines import join, trace
from .base import ClassInfo, Item, Record, Writer

if TYPE_CHECKING:
    from ..segment import Segmentation

COCO = 'coco.json'
_PARTS = 'class', 'component'
Pairs = Sequence[tuple[Record, Any]]


@WRITERS.register_module('coco')
class CocoWriter(Writer):
    """Writes ``coco.json``: an annotation per class and picture, without the background.

    Categories have the ids of label maps; where that is 0 for one of them, all are higher by 1.

    Args:
        per: ``'class'``, or ``'component'`` for an annotation per connected part.
        polygons: Write polygons, whose holes are joined to their outlines; else run lengths.

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
        """See :class:`.base.Writer`; gives the annotations, without ids."""
        return annotate(item.result, self.per, self.polygons)

    def finish(self, records: Pairs, classes: Sequence[ClassInfo], out: Path) -> None:
        """See :class:`.base.Writer`."""
        write_atomically(out / COCO, json.dumps(to_dataset(records, classes)).encode())


def to_dataset(records: Pairs, classes: Sequence[ClassInfo]) -> dict[str, list[dict]]:
    """COCO's dict of the annotations of pictures."""
    images: list[dict] = []
    annotations: list[dict] = []
    for number, (record, found) in enumerate(records, start=1):
        height, width = record.size
        images.append(dict(id=number, file_name=record.image, width=width, height=height))
        for each in found:
            annotations.append(dict(id=len(annotations) + 1, image_id=number, **each))
    ids = _category_ids(classes)
    kinds = [dict(id=ids[each.id], name=each.name) for each in classes if each.id in ids]
    return dict(images=images, annotations=annotations, categories=kinds)


def _category_ids(classes: Sequence[ClassInfo]) -> dict[int, int]:
    """Id in label maps → that of the category, which is higher by 1 where 0 is a class's.

    Readers such as Datumaro take 0 for no class.
    """
    ids = [each.id for each in classes if each.name != BACKGROUND]
    return {each: each + (0 in ids) for each in ids}


def annotate(result: Segmentation, per: str, polygons: bool) -> list[dict]:
    """The annotations of a picture, for whose arguments see :class:`CocoWriter`."""
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
    """A class's mask, or those of its parts, each cut out; and where its left upper corner is."""
    from scipy import ndimage

    if per == 'class':
        yield mask, (0, 0)
        return
    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), start=1):
        yield numbers[rows, columns] == number, (columns.start, rows.start)


def _run_lengths(part: np.ndarray, left: int, top: int, size: Sequence[int]) -> dict[str, Any]:
    """Run lengths of a mask that is cut out of one of height and width ``size``, by columns."""
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
