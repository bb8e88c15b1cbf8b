"""The result of an evaluation: the confusion matrix of each image, in a small file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmseg.evaluation import IoUMetric

from ..utils.arrays import pack_arrays, read_arrays
from ..utils.errors import InputError, first_line
from ..utils.file_kinds import DAMAGED
from ..utils.files import write_atomically

FORMAT, VERSION = 'sclip_mmseg.Result', 1
MAX_CLASSES = 1 << 16
_ARRAYS = ('image_ptr', 'label', 'prediction', 'pixels')
_BOUNDARY = 'boundary'  # an optional array


@dataclass(frozen=True, eq=False)
class Result:
    """Sparse confusion matrices of N images and K classes, and the settings they depend on.

    The M entries of all images are concatenated. Image i has the entries from
    ``image_ptr[i]`` to ``image_ptr[i + 1]``, one for each pair of label and prediction that occurs
    in it. Ignored pixels are not counted.

    Attributes:
        images: N names, relative to the dataset's folder of images.
        class_names: K names.
        image_ptr: Start of each image's entries, ascending, int64 ``[N + 1]``.
        label: Class of the label of each entry, uint16 ``[M]``.
        prediction: Predicted class of each entry, uint16 ``[M]``.
        pixels: Number of pixels of each entry, positive, int64 ``[M]``.
        fingerprint: Everything that the numbers depend on
            (:func:`.fingerprint.make_fingerprint`); empty if unknown.
        meta: Descriptions for JSON: name list, CLIP, protocol, versions, time.
        boundary: Image, class, and pixels on both boundaries, on the prediction's and on the
            label's, int64 ``[5, B]``, sorted by image; None if boundaries were not counted.

    Raises:
        InputError: If the arrays do not fit together.
    """

    images: list[str]
    class_names: list[str]
    image_ptr: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    pixels: np.ndarray
    fingerprint: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    boundary: np.ndarray | None = None

    def __post_init__(self) -> None:
        kinds = dict(image_ptr=np.int64, label=np.uint16, prediction=np.uint16, pixels=np.int64)
        for name, dtype in kinds.items():
            values = np.asarray(getattr(self, name))
            if values.ndim != 1 or values.dtype.kind not in 'iu':
                raise InputError(f'{name} of a result must be a list of integers')
            object.__setattr__(self, name, values.astype(dtype))
        ptr, size, classes = self.image_ptr, len(self.pixels), len(self.class_names)
        fits = (
            len(ptr) == len(self.images) + 1
            and ptr[0] == 0
            and ptr[-1] == size
            and (np.diff(ptr) >= 0).all()
            and len(self.label) == len(self.prediction) == size
            and classes <= MAX_CLASSES
            and (not size or max(self.label.max(), self.prediction.max()) < classes)
            and (not size or self.pixels.min() > 0)
        )
        if not fits:
            raise InputError('the counts of a result do not fit its images and classes')
        if self.boundary is not None:
            self._check_boundary(np.asarray(self.boundary))

    def _check_boundary(self, values: np.ndarray) -> None:
        if values.ndim != 2 or len(values) != 5 or values.dtype.kind not in 'iu':
            raise InputError('boundary of a result must be five rows of integers')
        values = values.astype(np.int64)
        object.__setattr__(self, 'boundary', values)
        limits = len(self.images), len(self.class_names)
        fits = not values.size or (
            values.min() >= 0
            and (values[:2].max(1) < limits).all()
            and (np.diff(values[0]) >= 0).all()
            and (values[2] <= values[3:]).all()
        )
        if not fits:
            raise InputError('the boundaries of a result do not fit its images and classes')

    @classmethod
    def from_counts(
        cls,
        images: Sequence[str],
        counts: Sequence[np.ndarray],
        class_names: Sequence[str],
        boundaries: Sequence[np.ndarray] | None = None,
        **kwargs: Any,
    ) -> Result:
        """Make a result from the counts of images.

        Args:
            images: N names.
            counts: Label, prediction and pixels of each image, N integer arrays ``[3, m]``.
            class_names: K names.
            boundaries: Class and pixels on boundaries of each image, N integer arrays ``[4, m]``,
                see :func:`.boundary.count`; None if they were not counted.
            **kwargs: ``fingerprint`` and ``meta``.
        """
        ends = np.cumsum([0, *(np.shape(count)[1] for count in counts)])
        empty = np.zeros((3, 0), np.int64)
        label, prediction, pixels = np.concatenate([empty, *map(np.asarray, counts)], axis=1)
        if boundaries is not None:
            kwargs['boundary'] = _join_boundaries(boundaries)
        return cls([*images], [*class_names], ends, label, prediction, pixels, **kwargs)

    def counts(self, index: int) -> np.ndarray:
        """Label, prediction and pixels of the entries of an image, int64 ``[3, m]``."""
        part = slice(*self.image_ptr[index : index + 2])
        arrays = (self.label[part], self.prediction[part], self.pixels[part])
        return np.stack([array.astype(np.int64) for array in arrays])

    def take(self, indices: Sequence[int]) -> Result:
        """Select images.

        Args:
            indices: Indices into ``images``, in any order.
        """
        chosen = np.asarray(indices, np.int64)
        sizes = np.diff(self.image_ptr)[chosen]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        entries = np.repeat(self.image_ptr[chosen] - ends[:-1], sizes) + np.arange(ends[-1])
        boundary = None
        if self.boundary is not None:
            parts = self.boundaries()
            boundary = _join_boundaries([parts[index] for index in chosen])
        return replace(
            self,
            images=[self.images[index] for index in chosen],
            image_ptr=ends,
            label=self.label[entries],
            prediction=self.prediction[entries],
            pixels=self.pixels[entries],
            boundary=boundary,
        )

    def boundaries(self) -> list[np.ndarray]:
        """Class and pixels on boundaries of each image, N arrays int64 ``[4, m]``.

        Raises:
            InputError: If they were not counted.
        """
        ends = np.searchsorted(self._boundary[0], np.arange(len(self.images) + 1))
        return [self._boundary[1:, start:end] for start, end in zip(ends, ends[1:])]

    @property
    def _boundary(self) -> np.ndarray:
        if self.boundary is None:
            raise InputError('the boundaries were not counted: evaluate with --boundary-iou')
        return self.boundary

    def confusion(self) -> np.ndarray:
        """Pixels of all images by label (row) and prediction (column), int64 ``[K, K]``."""
        size = len(self.class_names)
        matrix = np.zeros((size, size), np.int64)
        np.add.at(matrix, (self.label, self.prediction), self.pixels)
        return matrix

    def areas(self) -> np.ndarray:
        """Pixels of each class in each image, int64 ``[N, 4, K]``.

        In the order of mmseg's ``IoUMetric``: intersection, union, prediction and label.
        """
        count, size = len(self.images), len(self.class_names)
        image = np.repeat(np.arange(count), np.diff(self.image_ptr))
        areas = np.zeros((count, 4, size), np.int64)
        right = self.label == self.prediction
        np.add.at(areas[:, 0], (image[right], self.label[right]), self.pixels[right])
        np.add.at(areas[:, 2], (image, self.prediction), self.pixels)
        np.add.at(areas[:, 3], (image, self.label), self.pixels)
        areas[:, 1] = areas[:, 2] + areas[:, 3] - areas[:, 0]
        return areas

    @property
    def IoU(self) -> np.ndarray:
        """IoU of each class in percent, float32 ``[K]``; NaN for classes without pixels."""
        return 100 * self._values['IoU']

    @property
    def Acc(self) -> np.ndarray:
        """Accuracy of each class in percent, float32 ``[K]``; NaN for classes without labels."""
        return 100 * self._values['Acc']

    @property
    def aAcc(self) -> float:
        """Share of correctly predicted pixels, in percent."""
        return float(self._values['aAcc'] * 100)

    @property
    def mIoU(self) -> float:
        """Mean IoU over the classes that have one, in percent."""
        return self._mean('IoU')

    @property
    def mAcc(self) -> float:
        """Mean accuracy over the classes that have one, in percent."""
        return self._mean('Acc')

    @property
    def BIoU(self) -> np.ndarray:
        """Boundary IoU of each class in percent, float64 ``[K]``; NaN if a class has none.

        Raises:
            InputError: If boundaries were not counted.
        """
        sums = np.zeros((3, len(self.class_names)))
        for total, counts in zip(sums, self._boundary[2:]):
            np.add.at(total, self._boundary[1], counts)
        with np.errstate(invalid='ignore'):  # for absent classes
            return 100 * sums[0] / (sums[1] + sums[2] - sums[0])

    @property
    def mBIoU(self) -> float:
        """Mean Boundary IoU over the classes that have one, in percent; see :attr:`BIoU`."""
        values = self.BIoU
        return float(np.nanmean(values)) if (values == values).any() else float('nan')

    def metrics(self) -> dict[str, float]:
        """aAcc, mIoU, mAcc, and mBIoU if counted, rounded to two digits as in the log."""
        names = ('aAcc', 'mIoU', 'mAcc', *(['mBIoU'] if self.boundary is not None else []))
        values = {name: np.float32(getattr(self, name)) for name in names}
        return {name: round(float(np.round(value, 2)), 2) for name, value in values.items()}

    def by_class(self) -> dict[str, dict[str, float | None]]:
        """Class name → ``IoU`` and ``Acc`` in percent, unrounded; None instead of NaN."""
        columns = {
            key: [None if value != value else value for value in getattr(self, key).tolist()]
            for key in ('IoU', 'Acc')
        }
        return {
            name: {key: column[index] for key, column in columns.items()}
            for index, name in enumerate(self.class_names)
        }

    @property
    def _values(self) -> dict[str, np.ndarray]:
        if '_cached' not in self.__dict__:
            # Summed image by image in float32, so that the digits equal those of IoUMetric.
            totals = np.add.reduce(self.areas().astype(np.float32), axis=0)
            values = IoUMetric.total_area_to_metrics(*torch.from_numpy(totals))
            self.__dict__['_cached'] = values
        return self.__dict__['_cached']

    def _mean(self, name: str) -> float:
        values = self._values[name]
        return float(np.nanmean(values) * 100) if (values == values).any() else float('nan')

    def save(self, path: str | Path) -> None:
        """Write the result atomically.

        Raises:
            InputError: If the file cannot be written.
        """
        header = dict(
            format=FORMAT,
            version=VERSION,
            images=self.images,
            class_names=self.class_names,
            fingerprint=self.fingerprint,
            meta=self.meta,
        )
        text = json.dumps(header, allow_nan=False).encode()
        names = (*_ARRAYS, *([_BOUNDARY] if self.boundary is not None else []))
        arrays = {name: _narrow(getattr(self, name)) for name in names}
        content = pack_arrays({'header': np.frombuffer(text, np.uint8), **arrays})
        write_atomically(Path(path), content)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a file of :meth:`save`.

        Raises:
            InputError: If the file does not exist, is damaged, or is not a result.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f'{path} does not exist: name the result.npz of a work directory')
        try:
            members = read_arrays(path, ('header', *_ARRAYS), 'it', [_BOUNDARY])
            header = json.loads(members.pop('header').tobytes())
            if header.get('format') != FORMAT:
                raise ValueError('its header names another format')
            version = header['version']
            images, class_names = header['images'], header['class_names']
            if not all(isinstance(x, str) for part in (images, class_names) for x in part):
                raise ValueError('a name is not text')
            fingerprint, meta = dict(header['fingerprint']), dict(header['meta'])
            ptr, label, prediction, pixels = (members[name] for name in _ARRAYS)
            if version == VERSION:
                counts = class_names, ptr, label, prediction, pixels
                return cls(images, *counts, fingerprint, meta, members.get(_BOUNDARY))
        except DAMAGED as error:
            raise InputError(
                f'{path} is damaged or not a result of an evaluation ({first_line(error)}): '
                'evaluate again, or name a result.npz'
            ) from error
        raise InputError(
            f'{path} has version {version} of the format, this sclip_mmseg reads {VERSION}: '
            'update the package, or evaluate again'
        )


def _join_boundaries(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate the boundaries of images ``[4, m]``, with a row of image indices, ``[5, B]``."""
    image = np.repeat(np.arange(len(parts)), [np.shape(part)[1] for part in parts])
    rest = np.concatenate([np.zeros((4, 0), np.int64), *map(np.asarray, parts)], axis=1)
    return np.concatenate([image[None], rest]).astype(np.int64)


def _narrow(values: np.ndarray) -> np.ndarray:
    """Convert to the smallest unsigned type."""
    return values.astype(np.min_scalar_type(values.max(initial=0)))
