"""Find the images, labels and predicted label maps of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from PIL import Image

from ..config import read_config
from ..datasets import distinct_palette
from ..datasets.checks import load_dataset
from ..datasets.label_ids import ids_in_files
from ..datasets.loading import with_checked_loaders
from ..datasets.output_names import name_outputs
from ..datasets.parts import image_paths
from ..old_names import keep_old_names
from ..rasters.reading import read_pixels
from ..utils.errors import InputError
from ..utils.images import UNREADABLE
from ..visualization import draw_classes
from ..visualization.painting import class_map
from .result import Result
from .resumable_test_loop import image_names

keep_old_names(__name__, Pictures='ResultImages', find_pictures='find_images')

Read = Callable[[str], np.ndarray]
"""Name of an image in a result → its pixels."""
_SHOWN = 0.002  # smallest share of an image of a class in the legend


@dataclass(frozen=True)
class ResultImages:
    """Images, labels and predictions of results.

    Attributes:
        image: Function that reads an image, RGB, uint8 ``[H, W, 3]``.
        label: Function that reads the class of each pixel, integers ``[H, W]``, where ignored
            pixels are outside the classes; None if labels cannot be found.
        predictions: Name of a result → function that reads its classes, integers ``[H, W]``.
        palette: An RGB triple per class.
    """

    image: Read
    label: Read | None = None
    predictions: Mapping[str, Read] = field(default_factory=dict)
    palette: Sequence[Sequence[int]] = ()

    def layers(
        self, name: str, width: int, class_names: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], list[int]]:
        """Draw an image, its ground truth and its predictions.

        Args:
            name: Name of the image.
            width: Width in pixels; smaller images are not enlarged.
            class_names: K names.

        Returns:
            Title → RGB, uint8 ``[h, width, 3]``, with predictions faded where pixels are ignored;
            and the indices of the classes that occur, for the legend.
        """
        image = self.image(name)
        height = max(1, round(width * image.shape[0] / image.shape[1]))
        size = (width, height) if width < image.shape[1] else image.shape[1::-1]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        layers, maps = {'image': small}, self._maps(name, len(class_names), size)
        for title, ids in maps.items():
            painted = draw_classes(small, ids, class_names, self.palette, 0.7, names=False)
            if title in self.predictions and 'truth' in maps:
                faded = cv2.addWeighted(small, 0.75, painted, 0.25, 0)
                counted = maps['truth'][..., None] < len(class_names)
                painted = np.where(counted, painted, faded)
            layers[title] = painted
        return layers, _shown(maps, len(class_names))

    def _maps(self, name: str, num_classes: int, size: Sequence[int]) -> dict[str, np.ndarray]:
        """Label maps of an image, resized to ``size``; ignored pixels are ``num_classes``."""
        readers = {'truth': self.label} if self.label else {}
        found = {}
        for title, read in {**readers, **self.predictions}.items():
            ids = class_map(read(name), num_classes)
            found[title] = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
        return found


def find_images(results: Mapping[str, Result], folders: Mapping[str, Path]) -> ResultImages:
    """Find images, labels and label maps by the configs in the work directories of results.

    Args:
        results: Name → result, all with the same images.
        folders: Name → work directory.

    Raises:
        InputError: If none of the configs leads to the images.
    """
    datasets, reasons = {}, []
    for name, result in results.items():
        try:
            datasets[name] = _find_dataset(result, folders[name])
        except InputError as error:
            reasons.append(str(error))
    if not datasets:
        raise InputError(f'no images to show: {reasons[0]}')
    found = {name: _Files(dataset, results[name]) for name, (_, dataset) in datasets.items()}
    first = next(iter(found.values()))
    predictions = {}
    for name, (cfg, _) in datasets.items():
        if read := found[name].predictions(cfg):
            predictions[name] = read
    palette = distinct_palette(first.result.class_names)
    return ResultImages(first.image, first.label, predictions, palette)


def _find_dataset(result: Result, folder: Path) -> tuple[Config, BaseDataset]:
    """Find the config in a work directory, and its dataset with the images of a result."""
    reason = f'{folder} has no config'
    for path in sorted(folder.glob('*.py')):
        try:
            cfg = read_config(str(path))
            if 'test_dataloader' not in cfg:
                raise InputError(f'{path} has no test_dataloader')
            init_default_scope(cfg.get('default_scope', 'mmseg'))
            dataset = load_dataset(cfg.test_dataloader.dataset)
        except InputError as error:
            reason = str(error)
            continue
        if {*result.images} <= {*image_names(dataset, image_paths(dataset))}:
            return cfg, dataset
        reason = f'{path} has other images'
    raise InputError(reason)


def _shown(maps: Mapping[str, np.ndarray], num_classes: int) -> list[int]:
    """Indices of the classes that occur in any of some label maps."""
    counts = [np.bincount(ids.ravel(), minlength=num_classes + 1) for ids in maps.values()]
    least = [_SHOWN * ids.size for ids in maps.values()]
    found = [count[:num_classes] > limit for count, limit in zip(counts, least)]
    return np.flatnonzero(np.any(found, axis=0)).tolist() if found else []


class _Files:
    """The files of the images of a dataset."""

    def __init__(self, dataset: BaseDataset, result: Result):
        self.dataset, self.result = dataset, result
        self.paths = image_paths(dataset)
        names = image_names(dataset, self.paths)
        self.pipeline = with_checked_loaders(dataset.pipeline, dataset.ignore_index)
        self.places = {name: place for place, name in enumerate(names)}

    def image(self, name: str) -> np.ndarray:
        info = self.dataset.get_data_info(self.places[name])
        return read_pixels(info['img_path'], info.get('map'))

    def label(self, name: str) -> np.ndarray:
        sample = self.pipeline(self.dataset.get_data_info(self.places[name]))['data_samples']
        return sample.gt_sem_seg.data[0].numpy()

    def predictions(self, cfg: Config) -> Read | None:
        """A reader of the label maps that the config's run has written; None without them."""
        metrics = (
            cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        )
        for metric in metrics:
            if folder := metric.get('output_dir'):
                names = name_outputs(self.paths)
                files = {
                    name: Path(folder, f'{names[self.paths[place]]}.png')
                    for name, place in self.places.items()
                }
                if all(files[name].is_file() for name in self.result.images):
                    if metric.get('out_ids', 'labels') != 'labels':
                        return lambda name: _read_ids(files[name])
                    reduced = bool(getattr(self.dataset, 'reduce_zero_label', False))
                    known = ids_in_files(self.dataset.metainfo, reduced)
                    classes = np.full(max(known.max(), 65535) + 1, -1)
                    classes[known] = np.arange(len(known))
                    return lambda name: classes[_read_ids(files[name])]
        return None


def _read_ids(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image).astype(np.int64)
    except UNREADABLE as error:
        raise InputError(f'label map {path} cannot be read: {error}') from error
