"""mmcv's and mmseg's loaders of images and labels, with checks of the files.

OpenCV decodes damaged data without an error, and rotates images by their EXIF orientation, but not
labels; mmseg converts the ids of labels to 8 bits.
"""

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ..rasters.reading import open_raster
from ..utils.errors import InputError
from ..utils.images import (
    EXTRANEOUS,
    find_band_flaw,
    find_flaw,
    libjpeg_warnings,
    orientation_of,
)

_TIFF = b'II', b'MM'  # OpenCV and Pillow always apply the orientation of TIFF


class CheckedImageLoader(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, which rejects files whose pixels would be wrong.

    Args:
        reads_again: Whether the file is read again elsewhere, where its orientation is always
            applied.
        **kwargs: See :class:`mmcv.transforms.LoadImageFromFile`.

    Raises:
        InputError: When called, if the data are damaged, if values do not have 8 or 16 bits, or
            if the image is rotated or mirrored on reading but its label is not.

    Warns:
        UserWarning: If a few bytes follow the image, which may be a sign of damage.
    """

    def __init__(self, reads_again: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.reads_again = reads_again

    def transform(self, results: dict) -> dict | None:
        """Load the image of a sample; for a map, also its mask of no data, bool ``[H, W]``."""
        if 'map' in results:
            return self._load_map(results)
        path, said = results['img_path'], []
        try:
            with libjpeg_warnings() as said:
                loaded = super().transform(results)
        except Exception:  # a check of the file gives a better message
            self._check_values(path, self._read(path), said)
            raise
        if loaded is not None:
            content = self._read(path)
            self._check_values(path, content, said)
            if results.get('seg_map_path'):
                self._check_orientation(loaded, content)
        return loaded

    def _load_map(self, results: dict) -> dict:
        with open_raster(results['img_path'], **results['map']) as raster:
            image, valid = raster.read()
        image = np.ascontiguousarray(image[..., ::-1])
        image = image.astype(np.float32) if self.to_float32 else image
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return {**results, 'no_data': None if valid.all() else ~valid}

    def _read(self, path: str) -> bytes:
        try:
            return fileio.get(path, backend_args=self.backend_args)
        except OSError:  # the loader raised it, or ignores it by its options
            return b''

    def _check_values(self, path: str, content: bytes, said: list[str]) -> None:
        if self.imdecode_backend != 'cv2' or self.color_type == 'unchanged':
            return
        if flaw := find_band_flaw(content) or find_flaw(content, said):
            if not (said and EXTRANEOUS.search(said[0])):
                raise InputError(f'{path} {flaw}')
            warnings.warn(f'{path} {flaw}', stacklevel=2)

    def _check_orientation(self, results: dict, content: bytes) -> None:
        orientation = orientation_of(content)
        turned = orientation > 1 and self._turns(content, results['img'])
        if orientation == 1 or not (turned or self.reads_again):
            return
        label, size = results['seg_map_path'], tuple(results['img_shape'])
        drawn = results.get('label_size')  # for labels that are not images
        if drawn is None:
            with Image.open(io.BytesIO(self._read(label))) as file:
                drawn = file.size
        fits = turned and orientation >= 5 and tuple(drawn) == size[::-1] != size
        if not fits:
            raise InputError(
                f'{results["img_path"]} has EXIF orientation {orientation}, so it is rotated or '
                f'mirrored on reading, but its label {label} is not: remove the tag if the label '
                'fits the pixels as stored, otherwise save the image upright'
            )

    def _turns(self, content: bytes, image: np.ndarray) -> bool:
        """Whether the orientation of an image was applied when it was decoded."""
        if self.imdecode_backend not in ('cv2', 'pillow'):
            return False
        if content.startswith(_TIFF) or self.color_type not in ('color', 'grayscale'):
            return content.startswith(_TIFF)
        flag = f'{self.color_type}_ignore_orientation'
        stored = mmcv.imfrombytes(content, flag, backend=self.imdecode_backend)
        return not np.array_equal(stored, image)


class StoredIdsLoader(LoadAnnotations):
    """mmseg's ``LoadAnnotations``, but without conversion of ids to 8 bits.

    Labels stored with 8 bits are uint8, others int32.

    Args:
        ignore_index: New id of 0 with ``reduce_zero_label``, and of classes that are left out.
        **kwargs: See :class:`mmseg.datasets.LoadAnnotations`.

    Raises:
        InputError: When called, if a label does not contain integers.
    """

    def __init__(self, ignore_index: int = 255, **kwargs: Any):
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        content = fileio.get(path, backend_args=self.backend_args)
        label = mmcv.imfrombytes(content, 'unchanged', backend=self.imdecode_backend)
        if label is None or label.dtype.kind not in 'bui':
            held = 'no image' if label is None else f'{label.dtype} values'
            raise InputError(f'label {path} holds {held}, expected integers')
        if label.ndim > 2:
            label = label.squeeze()
        label_map = results.get('label_map') or {}
        is_narrow = label.dtype.itemsize == 1
        is_narrow = is_narrow and max([self.ignore_index, *label_map.values()]) <= 255
        label = label.astype(np.uint8 if is_narrow else np.int32)
        if results['reduce_zero_label']:
            ignored = (label == 0) | (label == self.ignore_index)
            label -= 1
            label[ignored] = self.ignore_index
        stored = label.copy() if label_map else label
        for old, new in label_map.items():
            label[stored == old] = self.ignore_index if new == 255 else new  # 255: left out
        results['gt_seg_map'] = label
        results['seg_fields'].append('gt_seg_map')


def with_checked_loaders(step: Any, ignore_index: int, reads_again: bool = False) -> Any:
    """Replace the loaders in a pipeline, or in a part of one, by those of this module.

    Args:
        step: A transform, a list of them, or one that contains others, such as ``TestTimeAug``. It
            is not modified.
        ignore_index: Ignore index of the dataset.
        reads_again: See :class:`CheckedImageLoader`.
    """

    def replace(step: Any) -> Any:
        decoding = {key: getattr(step, key, None) for key in ('imdecode_backend', 'backend_args')}
        if type(step) is LoadAnnotations:
            return StoredIdsLoader(ignore_index, **decoding)
        if type(step) is LoadImageFromFile and step.file_client_args is None:
            keys = ('to_float32', 'color_type', 'ignore_empty')
            options = {key: getattr(step, key) for key in keys}
            return CheckedImageLoader(reads_again, **options, **decoding)
        return step

    return replace_steps(step, replace)


def replace_steps(step: Any, replace: Callable[[Any], Any]) -> Any:
    """Replace transforms in a pipeline, or in a part of one.

    Args:
        step: A transform, a list of them, or one that contains others, such as ``TestTimeAug``. It
            is not modified.
        replace: Function that returns the replacement of a single transform.
    """
    if isinstance(step, (list, tuple)):
        return [replace_steps(each, replace) for each in step]
    parts = [name for name in ('transforms', 'subroutines') if hasattr(step, name)]
    if not parts:
        return replace(step)
    step = copy.copy(step)
    for name in parts:
        setattr(step, name, replace_steps(getattr(step, name), replace))
    return step
