"""Remote sensing benchmarks that mmseg does not have: land cover, drones, masks of one class.

The configs in ``configs/_base_/datasets`` have the suffixes of the files.
"""

from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .folder.dataset import read_labels_by
from .folder.readers import MaskReader


def _meta(**colors: tuple[int, int, int]) -> dict:
    return dict(classes=tuple(colors), palette=[list(color) for color in colors.values()])


@DATASETS.register_module()
class OpenEarthMapDataset(BaseSegDataset):
    """OpenEarthMap without xBD's images; unlabelled pixels are background, class 0."""

    METAINFO = _meta(
        background=(0, 0, 0),
        bareland=(128, 0, 0),
        grass=(0, 255, 36),
        pavement=(148, 148, 148),
        road=(255, 255, 255),
        tree=(34, 97, 38),
        water=(0, 69, 255),
        cropland=(75, 181, 73),
        building=(222, 31, 7),
    )


@DATASETS.register_module()
class UAVidDataset(BaseSegDataset):
    """UAVid: street scenes from a drone; moving and parked cars are one class."""

    METAINFO = _meta(
        background=(0, 0, 0),
        building=(128, 0, 0),
        road=(128, 64, 128),
        car=(192, 0, 192),
        tree=(0, 128, 0),
        vegetation=(128, 128, 0),
        human=(64, 64, 0),
    )


@DATASETS.register_module()
class UDD5Dataset(BaseSegDataset):
    """UDD5: street scenes from a drone; labels are 0 to 4."""

    METAINFO = _meta(
        vegetation=(107, 142, 35),
        building=(102, 102, 156),
        road=(128, 64, 128),
        vehicle=(0, 0, 142),
        other=(0, 0, 0),
    )


@DATASETS.register_module()
class VDDDataset(BaseSegDataset):
    """VDD: scenes from a drone."""

    METAINFO = _meta(
        other=(0, 0, 0),
        wall=(102, 102, 156),
        road=(128, 64, 128),
        vegetation=(107, 142, 35),
        vehicle=(0, 0, 142),
        roof=(70, 70, 70),
        water=(0, 69, 255),
    )


class MaskDataset(BaseSegDataset):
    """Masks of one class and background, as published or converted to 0 and 1.

    Args:
        split: Name of a shipped list of images, in the folder ``splits``; None for all images.
        **kwargs: See :class:`mmseg.datasets.BaseSegDataset`.

    Attributes:
        reader: Reader of the masks.
        problems: Always empty; labels are found by the names of images.
    """

    def __init__(self, split: str | None = None, **kwargs: Any):
        if split is not None:
            kwargs['ann_file'] = str(Path(__file__).parent / f'splits/{split}.txt')
        super().__init__(**kwargs)
        self.problems: list[str] = []
        self.reader = MaskReader(self.ignore_index)
        read_labels_by(self, self.reader)


@DATASETS.register_module()
class BuildingMaskDataset(MaskDataset):
    """Buildings: WHU, Inria, xBD."""

    METAINFO = _meta(background=(0, 0, 0), building=(222, 31, 7))


@DATASETS.register_module()
class RoadMaskDataset(MaskDataset):
    """Roads: CHN6-CUG, DeepGlobe, Massachusetts, SpaceNet."""

    METAINFO = _meta(background=(0, 0, 0), road=(255, 255, 255))


@DATASETS.register_module()
class WaterMaskDataset(MaskDataset):
    """Water bodies in satellite images, whose masks are JPEG files."""

    METAINFO = _meta(background=(0, 0, 0), water=(0, 69, 255))
