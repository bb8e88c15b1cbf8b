"""The image at the size of its file, for towers with their own input size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..old_names import OldAttribute
from ..rasters.reading import read_pixels
from ..towers.proxy import ProxyTower
from ..towers.sam import SamImage, SamTower, to_multiples
from ..utils.errors import InputError


class FileImage:
    """An image that is read on first use and whose encodings are cached.

    Args:
        path: Path of the image file; None without a file.
        pixels: Pixels to use in place of the file's, BGR, uint8 ``[H, W, 3]``.
        flip: Axes along which the network's input is mirrored, of -2 and -1.
        raster: Options of a map, see :func:`..rasters.reading.read_pixels`; None for other images.
    """

    of = OldAttribute('encode')

    def __init__(
        self,
        path: str | None,
        pixels: np.ndarray | None = None,
        flip: Sequence[int] = (),
        raster: Mapping[str, Any] | None = None,
    ):
        self.path, self.flip, self.raster = path, tuple(flip), raster
        self._pixels = pixels
        self._seen: dict[tuple[str, tuple], SamImage] = {}
        self._maps: dict[ProxyTower, Tensor] = {}

    def pixels(self) -> np.ndarray:
        """Return the pixels, RGB, uint8 ``[H, W, 3]``.

        Raises:
            InputError: If there is neither a file nor pixels.
        """
        if self._pixels is None:
            if not self.path:
                raise InputError(
                    'the method needs the image at the size of its file: segment an image file, or '
                    'segment the array with sclip_mmseg.apis.segment'
                )
            self._pixels = read_pixels(self.path, self.raster)[..., ::-1]
        return np.ascontiguousarray(self._pixels[..., ::-1])

    def encode(self, sam: SamTower, part: str, flip: Sequence[int] | None = None) -> SamImage:
        """Encode the image by SAM, once.

        Args:
            sam: SAM's image tower.
            part: ``'whole'``, or ``'left'`` or ``'right'`` for a half.
            flip: Axes to mirror; None for the network's.
        """
        flip = self.flip if flip is None else tuple(flip)
        if (part, flip) not in self._seen:
            pixels = to_multiples(np.flip(self.pixels(), tuple(axis - 1 for axis in flip)).copy())
            middle = pixels.shape[1] // 2
            columns = dict(left=slice(0, middle), right=slice(middle, None)).get(part, slice(None))
            self._seen[part, flip] = sam.encode(np.ascontiguousarray(pixels[:, columns]))
        return self._seen[part, flip]

    def map_of(self, proxy: ProxyTower) -> Tensor:
        """Compute the features ``[h, w, C]`` of a second tower, once, mirrored as the network's."""
        if proxy not in self._maps:
            self._maps[proxy] = proxy.see_whole(
                np.flip(self.pixels(), tuple(axis + 2 for axis in self.flip))
            )
        return self._maps[proxy]
