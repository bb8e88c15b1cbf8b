"""The image as in its file, for towers that see it at a size of their own."""

from collections.abc import Sequence

import mmcv
import numpy as np
from torch import Tensor

from ..towers.proxy import ProxyTower
from ..towers.sam import SamImage, SamTower, to_multiples
from ..utils.errors import InputError


class FileImage:
    """Reads an image when it is first asked for, and keeps what a tower made of it.

    Args:
        path: Its file; None for an image that comes from none.
        pixels: BGR, uint8 ``[H, W, 3]``, in place of the file.
        flip: Axes along which the network sees the image mirrored, of -2 and -1.
    """

    def __init__(
        self,
        path: str | None,
        pixels: np.ndarray | None = None,
        flip: Sequence[int] = (),
    ):
        self.path, self.flip = path, tuple(flip)
        self._pixels = pixels
        self._seen: dict[tuple[str, tuple], SamImage] = {}
        self._maps: dict[ProxyTower, Tensor] = {}

    def pixels(self) -> np.ndarray:
        """RGB, uint8 ``[H, W, 3]``.

        Raises:
            InputError: If there is neither a file nor pixels.
        """
        if self._pixels is None:
            if not self.path:
                raise InputError(
                    'the method sees an image as in its file: segment an image from a file, not an '
                    'array, or segment the array by sclip_mmseg.apis.segment'
                )
            self._pixels = mmcv.imread(self.path)
        return np.ascontiguousarray(self._pixels[..., ::-1])

    def of(self, sam: SamTower, part: str, flip: Sequence[int] | None = None) -> SamImage:
        """SAM's encoding of the image, computed once.

        Args:
            sam: SAM.
            part: ``'whole'``, or ``'left'`` or ``'right'`` for a half.
            flip: Other axes than the network's.
        """
        flip = self.flip if flip is None else tuple(flip)
        if (part, flip) not in self._seen:
            pixels = to_multiples(np.flip(self.pixels(), tuple(axis - 1 for axis in flip)).copy())
            middle = pixels.shape[1] // 2
            columns = dict(left=slice(0, middle), right=slice(middle, None)).get(part, slice(None))
            self._seen[part, flip] = sam.encode(np.ascontiguousarray(pixels[:, columns]))
        return self._seen[part, flip]

    def map_of(self, proxy: ProxyTower) -> Tensor:
        """A second tower's features of the image as the network sees it, once: ``[h, w, C]``."""
        if proxy not in self._maps:
            self._maps[proxy] = proxy.see_whole(
                np.flip(self.pixels(), tuple(axis + 2 for axis in self.flip))
            )
        return self._maps[proxy]
