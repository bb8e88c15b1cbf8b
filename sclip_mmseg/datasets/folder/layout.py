"""The files of your own labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...rasters.reading import Bands, Stretch
from ...utils.errors import InputError
from .dataset import FolderDataset, Ignored
from .vectors import VECTORS

_VOC = 'JPEGImages', 'SegmentationClass'
_VOC_SPLITS = 'ImageSets/Segmentation'


@dataclass(frozen=True)
class OwnImages:
    """Paths of labelled images, and the kind of their labels.

    Attributes:
        images: Folder of images, or a folder in VOC's layout, with ``JPEGImages`` and
            ``SegmentationClass``.
        labels: Folder of labels, COCO file, or file of polygons; None for VOC's layout.
        ignored, colors: See :class:`.dataset.FolderDataset`.
        split: File of the names of images to evaluate; None for all, or those of VOC's split file.
        label_attribute, bands, stretch: See :class:`.dataset.FolderDataset`.
    """

    images: Path
    labels: Path | None = None
    ignored: Ignored = None
    colors: Path | None = None
    split: Path | None = None
    label_attribute: str | None = None
    bands: Bands | None = None
    stretch: Stretch | None = None

    def __post_init__(self) -> None:
        for name in ('images', 'labels', 'colors', 'split'):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))

    def dataset(self) -> dict[str, Any]:
        """Make the config of the dataset, without classes and pipeline.

        Raises:
            InputError: If a folder or file is missing.
        """
        images, labels, colors, split = self.images, self.labels, self.colors, self.split
        if root := self._voc_root():
            images, labels = (root / name for name in _VOC)
            split = split or _find_split(root)
            table = root / 'labelmap.txt'  # CVAT's
            colors = colors or (table if table.is_file() else None)
        if labels is None:
            raise InputError(
                f'{images} has no {" and ".join(_VOC)} (the layout of VOC): name labels by --labels'
            )
        is_file = labels.suffix.lower() in {'.json', *VECTORS}
        for kind, path, exists in (
            ('images', images, images.is_dir()),
            ('labels', labels, labels.is_file() if is_file else labels.is_dir()),
            ('names', split, split is None or split.is_file()),
        ):
            if not exists:
                what = 'file' if kind == 'names' or (kind == 'labels' and is_file) else 'folder'
                hint = (
                    ': --labels takes a folder or a file, *.json of COCO or *.gpkg'
                    if kind == 'labels'
                    else ''
                )
                raise InputError(f'{what} of {kind} {path} does not exist{hint}')
        if is_file and split:
            raise InputError('--split is for folders of labels: leave it out with a file')
        prefix = dict(img_path=str(images))
        cfg: dict[str, Any] = dict(type=FolderDataset.__name__, data_prefix=prefix)
        if is_file:
            cfg['ann_file'] = str(labels)
        else:
            prefix['seg_map_path'] = str(labels)
            cfg.update(dict(ann_file=str(split)) if split else {})
        cfg.update(dict(colors=str(colors)) if colors else {})
        for key in ('ignored', 'label_attribute', 'bands', 'stretch'):
            cfg.update({key: value} if (value := getattr(self, key)) is not None else {})
        return cfg

    def _voc_root(self) -> Path | None:
        for root in (self.images, self.images.parent):
            folders = [root / name for name in _VOC]
            if all(folder.is_dir() for folder in folders):
                own_images = self.images in (root, folders[0])
                own_labels = self.labels in (None, root, folders[1])
                return root if own_images and own_labels else None
        return None


def _find_split(root: Path) -> Path | None:
    """Find the split file in VOC's layout: ``val``, CVAT's ``default``, or the only one."""
    found = sorted((root / _VOC_SPLITS).glob('*.txt'))
    named = [path for name in ('val', 'default') for path in found if path.stem == name]
    chosen = named or (found if len(found) == 1 else [])
    return chosen[0] if chosen else None
