"""Segment maps block by block, in memory that does not grow with the map."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models import CLIPSegmentor, View
from ..models.fusion import FusedMap
from ..models.rolling import RollingMaps
from ..models.windows import Window
from ..rasters.grid import Block
from ..rasters.reading import Raster
from ..rasters.resizing import ResizedRows
from ..rasters.result import no_data_label
from ..utils.precision import check_matmul_precision, own_precision
from .segment import check_pixels, segment_array
from .sizes import working_size

#: Rows of pixels of a block: what a killed process loses at most.
ROWS = 512
_STEPS = {'LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackSegInputs'}


def reason_for_whole(model: CLIPSegmentor) -> str:
    """Why a segmentor needs the whole image; empty if it can segment blocks."""
    if model.image_encoder.sees_whole_image:
        return 'the method sees all windows of an image together'
    if model.memory_cfg is not None or model.regions is not None:
        return 'regions are computed on the whole image'
    if model.refine is not None:
        return 'model.refine sees the whole image'
    if model.postprocess is not None:
        return 'model.postprocess sees the whole image'
    if model.windows.mode == 'whole':
        return "test_cfg.mode='whole' sees an image in one pass"
    if model.rule.needs_map:
        return 'test_cfg.area_thd counts the pixels of the whole image'
    if {step['type'] for step in model.cfg.test_pipeline} - _STEPS:
        return 'test_pipeline has additional steps'
    return ''


class BlockSegmenter:
    """Segments rows of a map, from top to bottom.

    At every pixel the label equals that of the map segmented as one image, whatever the blocks.

    Args:
        model: A segmentor that can segment blocks, see :func:`reason_for_whole`.
        raster: The map.
        with_confidence: Whether to return the scores of the labels, too.

    Raises:
        InputError: If the map is too small once it is resized.
    """

    def __init__(
        self,
        model: CLIPSegmentor,
        raster: Raster,
        with_confidence: bool = False,
    ):
        self.model, self.raster, self.with_confidence = model, raster, with_confidence
        grid = raster.grid
        self.size = grid.height, grid.width
        size = working_size(model.cfg.test_pipeline, self.size)
        model.check_size(size, str(raster.path))
        check_matmul_precision()
        pixels = MapPixels(raster, size, model)
        given = self._encode, model.window_batch, model.image_encoder.align_corners
        self.maps = RollingMaps(pixels, model.windows, *given)
        self._fused: FusedMap | None = None

    def _encode(self, view: View) -> Tensor:
        coarse = self.model._encode(view)
        self.model.check_finite(coarse, str(self.raster.path))
        return coarse

    @own_precision()
    @torch.no_grad()
    def segment(self, rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Segment some rows.

        Args:
            rows: Rows of the map; calls must go from top to bottom.

        Returns:
            Classes or no data, see :class:`..rasters.result.SegmentedMap`, ``[h, W]``; and their
            scores, float16 ``[h, W]``, or None.

        Raises:
            InputError: If the file is damaged there, or features are not finite.
        """
        height, width = self.size
        no_data = no_data_label(self.model.num_classes)
        labels = np.full((rows.stop - rows.start, width), no_data, np.min_scalar_type(no_data))
        confidence = np.zeros(labels.shape, np.float16) if self.with_confidence else None
        valid = self.raster.valid(Block(rows.start, 0, rows.stop, width))
        if valid.any():
            self.maps.prepare(self.maps.rows_needed(height, rows))
            self._fused = self._fused or self.maps.fuse(self.size)

            def wanted(part: slice, columns: slice) -> bool:
                below = slice(max(part.start - rows.start, 0), part.stop - rows.start)
                return bool(valid[below, columns].any())

            for part, columns, values in self._fused.tiles_of(rows, wanted):
                best, classes = self.model.rule.best(
                    values.float(), self.model.class_ids, self.with_confidence
                )
                place = slice(part.start - rows.start, part.stop - rows.start), columns
                labels[place] = classes.cpu().numpy()
                if confidence is not None:
                    confidence[place] = best.cpu().numpy()
            labels[~valid] = no_data
            if confidence is not None:
                confidence[~valid] = 0
        return labels, confidence


class WholeSegmenter:
    """Segments a map as one image, with the interface of :class:`BlockSegmenter`.

    Raises:
        InputError: If the map is too large to be read as one image.
    """

    def __init__(self, model: CLIPSegmentor, raster: Raster, with_confidence: bool = False):
        self.model, self.raster, self.with_confidence = model, raster, with_confidence
        check_pixels(raster, f': {reason_for_whole(model)}')

    def segment(self, rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Segment all rows."""
        image, valid = self.raster.read()
        no_data = no_data_label(self.model.num_classes)
        labels = np.full(valid.shape, no_data, np.min_scalar_type(no_data))
        if not valid.any():
            return labels, np.zeros(valid.shape, np.float16) if self.with_confidence else None
        bgr = np.ascontiguousarray(image[..., ::-1])
        found = segment_array(self.model, bgr, str(self.raster.path))
        labels[valid] = found.labels[valid]
        confidence = (found.confidence * valid).astype(np.float16) if self.with_confidence else None
        return labels, confidence


class MapPixels:
    """Windows of a map, read from top to bottom; see :class:`..models.rolling.Pixels`.

    Args:
        raster: The map.
        size: Working height and width, at which windows are cut.
        model: The segmentor whose preprocessor normalises the windows.
    """

    def __init__(self, raster: Raster, size: tuple[int, int], model: CLIPSegmentor):
        self.size = size
        self._rows = ResizedRows(raster, size)
        self._preprocess = model.data_preprocessor
        # A resized pixel is interpolated from its two neighbours.
        self._margin = int(size != (raster.grid.height, raster.grid.width))
        self._top = 0
        self._image = np.empty((0, size[1], 3), np.uint8)
        self._seen = np.empty((0, size[1]), bool)

    def has_data(self, window: Window) -> bool:
        """Whether a window, with the margin that resizing reads, contains data."""
        margin = self._margin
        rows = slice(max(window.top - margin, 0), min(window.bottom + margin, self.size[0]))
        self._load(rows)
        columns = slice(max(window.left - margin, 0), window.right + margin)
        return bool(self._seen[rows.start - self._top : rows.stop - self._top, columns].any())

    def crop(self, window: Window) -> Tensor:
        """Normalised pixels of a window, ``[3, h, w]``."""
        rows = slice(window.top, window.bottom)
        self._load(rows)
        image = self._image[window.top - self._top : window.bottom - self._top]
        bgr = image[:, window.left : window.right, ::-1].transpose(2, 0, 1)
        data = dict(inputs=[torch.from_numpy(np.ascontiguousarray(bgr))])
        return self._preprocess(data)['inputs'][0]

    def _load(self, rows: slice) -> None:
        """Read rows into memory, and drop earlier ones."""
        end = self._top + len(self._image)
        if not self._top <= rows.start <= end:
            self._top = end = rows.start
            self._image, self._seen = self._image[:0], self._seen[:0]
        if rows.stop > end:
            image, seen = self._rows.read(end, rows.stop)
            kept = slice(rows.start - self._top, None)
            self._image = np.concatenate([self._image[kept], image])
            self._seen = np.concatenate([self._seen[kept], seen])
            self._top = rows.start
