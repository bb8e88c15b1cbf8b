"""COCO's JSON files of instances and of panoptic segments."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...utils.errors import InputError


@dataclass
class CocoImage:
    """An image of a COCO file.

    Attributes:
        file_name: File name in the COCO file.
        size: Width and height.
        segments: Category and ``segmentation`` (polygons or run lengths) of each instance, in the
            order of the file; or category and segment id of each panoptic segment.
        label: Name of the PNG of panoptic segments; empty for instances.
    """

    file_name: str
    size: tuple[int, int]
    segments: list[tuple[int, Any]] = field(default_factory=list)
    label: str = ''


@dataclass
class CocoFile:
    """Content of a COCO file.

    Attributes:
        categories: Id → name.
        images: Images in the order of the file.
        panoptic: Whether it is a file of panoptic segments, which are in PNGs.
    """

    categories: dict[int, str]
    images: list[CocoImage]
    panoptic: bool


def read_coco(path: Path) -> CocoFile:
    """Read a COCO file of instances, stuff or panoptic segments.

    Raises:
        InputError: If the file has another format.
    """
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path} is not JSON: {error}') from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path} is not a COCO file of instances or panoptic segments, which has lists of '
            f'images, annotations and categories ({type(error).__name__}: {error})'
        ) from error


@lru_cache(maxsize=2)
def _read(path: str, changed: int) -> CocoFile:
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    categories = {int(each['id']): str(each['name']) for each in content['categories']}
    images = {
        each['id']: CocoImage(each['file_name'], (int(each['width']), int(each['height'])))
        for each in content['images']
    }
    annotations = content['annotations']
    panoptic = bool(annotations) and 'segments_info' in annotations[0]
    for each in annotations:
        image = images[each['image_id']]
        if panoptic:
            image.label = each['file_name']
            image.segments = [
                (int(part['category_id']), int(part['id'])) for part in each['segments_info']
            ]
        else:
            image.segments.append((int(each['category_id']), each['segmentation']))
    return CocoFile(categories, list(images.values()), panoptic)


def panoptic_folder(path: Path) -> Path:
    """The folder of the PNGs of a panoptic file: its path without ``.json``.

    Raises:
        InputError: If it does not exist.
    """
    folder = path.with_suffix('')
    if not folder.is_dir():
        raise InputError(
            f'the PNGs of panoptic segments of {path} are expected in {folder}, which does not '
            'exist: put them there, or name their folder in data_prefix.seg_map_path'
        )
    return folder
