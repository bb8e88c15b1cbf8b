"""TCL: windows → soft masks of the queries.

Cha et al., *Learning to Generate Text-grounded Mask for Open-world Semantic Segmentation from Only
Image-Text Pairs*, CVPR 2023.
"""

from collections.abc import Iterator
from itertools import chain

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...towers import Resampling, load_image_tower, read_tensors, resolve_clip
from ...towers.vit import cast_matrices, matrices
from ...utils.errors import InputError
from ...utils.torch_types import height_width
from ..encoder import ImageEncoder
from ..image_encoder import check_precision
from ..methods import Classify
from ..refiners import build_image_refiner
from ..view import View
from ..window_batch import choose_window_batch
from .published import find_trained
from .tcl_masker import attend_to_itself, load_masker

_LARGEST_BATCH = 16  # windows; there are 16 decoded features per patch
# Fixed by the authors: scale and centre of the sigmoid on CLIP's own cosines.
_KNOWN_SCALE, _KNOWN_CENTRE = 10.0, 0.25


@MODELS.register_module()
class TCLEncoder(ImageEncoder):
    """Soft masks from a decoder trained on a frozen CLIP, mixed with CLIP's own masks.

    Args:
        clip: Name or path of the frozen CLIP, see :func:`...towers.load_clip`.
        checkpoint: A name in :data:`.published.TRAINED`, or the path of a TCL checkpoint, from
            which the masker is read. Images are normalised by ImageNet's values, also for CLIP.
        kp_w: Weight of CLIP's own masks, 0 to 1.
        refine: Config of a module that refines the decoder's masks of each window, e.g.
            :class:`..pamr.PAMR`; None for none.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``. LayerNorm and masks are always computed in
            float32.
        round_weights: Option of :func:`...towers.load_image_tower`.

    Raises:
        InputError: If a checkpoint cannot be used, or an argument is out of range.
    """

    checkpoint_finder = staticmethod(find_trained)

    def __init__(
        self,
        clip: str,
        checkpoint: str,
        kp_w: float = 0.3,
        refine: dict | None = None,
        precision: str = 'fp32',
        round_weights: bool | None = None,
    ):
        super().__init__()
        if not 0 <= kp_w <= 1:
            raise InputError(f'model.image_encoder.kp_w={kp_w!r} must lie between 0 and 1')
        dtype = check_precision(precision)
        self.precision, self.kp_w = precision, kp_w
        key = 'model.image_encoder.refine'
        self.refine = build_image_refiner(refine, key) if refine else None
        path = find_trained(checkpoint).weights
        resolve_clip(clip)  # all downloads first, before anything is read
        found = read_tensors(path)
        self.tower = load_image_tower(clip, round_weights=round_weights)
        self.tower.resampling = Resampling(offset=None)
        self.masker = load_masker(found, self.tower, str(path))
        for module in (self.tower, self.masker):
            cast_matrices(module, dtype)
        self.patch_size, self.embed_dim = self.tower.patch_size, self.tower.output_dim

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts."""
        return chain(matrices(self.tower), matrices(self.masker))

    def forward(self, view: View, text: Classify) -> Tensor:
        """Segment windows.

        Args:
            view: Windows of any size.
            text: The text head.

        Returns:
            Scores ``[B, Q, h, w]``, float32, 0 to 1: on four times the patch grid, or per pixel if
            a side is not a multiple of the patch size.
        """
        images, padding = pad_to_patches(view.images, self.patch_size)
        patches = self._last_input(images)
        masks = self.masker.masks(text(self.masker(patches)))
        size = height_width(masks)
        if self.refine is not None:
            guide = F.interpolate(images.float(), size, mode='bilinear', align_corners=True)
            masks = self.refine(masks, guide)
        if self.kp_w:
            masks = masks.lerp(_resize(self._known(patches, text), size), self.kp_w)
        if not any(padding):
            return masks
        left, right, top, bottom = padding
        height, width = images.shape[-2:]
        fine = _resize(masks, (height, width))
        return fine[..., top : height - bottom, left : width - right]

    def _last_input(self, images: Tensor) -> Tensor:
        """Return the patches in the input of CLIP's last block, ``[B, h, w, width]``."""
        tokens = self.tower.run(images, {len(self.tower.blocks): ['input']})
        return tokens.patches.unflatten(1, tokens.grid)

    def _known(self, patches: Tensor, text: Classify) -> Tensor:
        """Compute CLIP's own masks ``[B, Q, h, w]``, 0 to 1, as in MaskCLIP."""
        cosines = text(self.tower.read_out(attend_to_itself(self.tower.blocks[-1], patches)))
        return (_KNOWN_SCALE * (cosines - _KNOWN_CENTRE)).sigmoid()

    def features(self, view: View, text: Classify) -> Tensor:
        """Compute L2-normalised features ``[B, 4h, 4w, D]``, float32, padding included."""
        images, _ = pad_to_patches(view.images, self.patch_size)
        return F.normalize(self.masker(self._last_input(images)).float(), dim=-1)

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        rows, columns = (-(-side // self.patch_size) for side in size)
        tower, tokens = self.tower, self.tower.num_prefix_tokens + rows * columns
        chosen = choose_window_batch(tokens, tower.width, tower.heads, tower.device)
        return min(chosen, _LARGEST_BATCH)


def pad_to_patches(images: Tensor, patch_size: int) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Pad ``[B, 3, H, W]`` with zeros on all sides, to multiples of a patch.

    Returns:
        The padded images, and the padding on the left, right, top and bottom in pixels.
    """
    rest = [-side % patch_size for side in images.shape[-2:]]
    padding = rest[1] // 2, rest[1] - rest[1] // 2, rest[0] // 2, rest[0] - rest[0] // 2
    return (F.pad(images, padding) if any(padding) else images), padding


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode='bilinear', align_corners=False)
