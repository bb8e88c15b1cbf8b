"""SimFeatUp, the upsampler of SegEarth-OV (arXiv 2410.01768), and FeatUp's (Fu et al., ICLR 2024).

Features of a patch grid are doubled in size several times, each time by a joint bilateral filter
guided by the image. A filter treats all channels alike, so features need not be unfolded: blocks of
pixels are products of their kernels with the features around them.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import UPSAMPLERS
from ..towers.layouts import StateDict
from ..towers.repository import Checkpoint, Family, Published, find
from ..towers.tensor_files import read_tensors
from ..utils.cache import cached_tensors
from ..utils.errors import InputError
from .fusion import tile_limit
from .windowed_image import AdjustedQueries, Compare

#: URLs by name. The authors publish no checksums.
CHECKPOINTS = {
    'xclip_jbu_one_million_aid': Published(
        'https://raw.githubusercontent.com/likyoo/SegEarth-OV/main/simfeatup_dev/weights/'
        'xclip_jbu_one_million_aid.ckpt'
    ),
}
_FAMILY = Family('model.image_encoder.upsampler.checkpoint', CHECKPOINTS)
_PREFIX = 'upsampler.'
_CORRECTION = 0.1  # weight of the learned correction of kernels and of features


def find_upsampler(checkpoint: str) -> Checkpoint:
    """Find the checkpoint of a name in :data:`CHECKPOINTS`, or of a path.

    Raises:
        InputError: If there is no such checkpoint, or the download fails.
    """
    return find(checkpoint, _FAMILY)


@UPSAMPLERS.register_module()
class SimFeatUp(nn.Module):
    """Upsamples the patch features of a window, guided by its pixels.

    Args:
        checkpoint: A name in :data:`CHECKPOINTS`, or the path of a checkpoint of SimFeatUp or
            FeatUp, with one repeated filter (``jbu_one``) or four filters (``jbu_stack``).
        doublings: Number of doublings in size, 1 to 4; 4 gives one feature per pixel.

    Raises:
        InputError: If an argument or the checkpoint cannot be used.
    """

    #: Side in pixels of the patches whose features it takes.
    patch_size = 16
    matrix: Tensor
    bias: Tensor

    def __init__(self, checkpoint: str, doublings: int = 4):
        super().__init__()
        if isinstance(doublings, bool) or doublings not in (1, 2, 3, 4):
            raise InputError(
                f'model.image_encoder.upsampler.doublings={doublings!r} must be 1 to 4'
            )
        path = find_upsampler(checkpoint).weights
        tensors = read_tensors(path)
        if any(name.startswith(_PREFIX) for name in tensors):
            tensors = {
                name.removeprefix(_PREFIX): tensor
                for name, tensor in tensors.items()
                if name.startswith(_PREFIX)
            }
        names = ['up'] if 'up.range_temp' in tensors else [f'up{n}' for n in (1, 2, 3, 4)]
        try:
            filters = [BilateralFilter(tensors, name) for name in names]
            radius = max(each.radius for each in filters)
            self.filters = nn.ModuleList(filters)
            weight = tensors['fixup_proj.1.weight'].float().flatten(1)
            bias = tensors['fixup_proj.1.bias'].float()
            matrix = torch.eye(len(bias)) + _CORRECTION * weight
        except (KeyError, RuntimeError, ValueError) as error:
            reason = ' '.join(str(error).split())[:200]
            raise InputError(
                f'{path} is not an upsampler of SimFeatUp or FeatUp (jbu_one, jbu_stack): {reason}'
            ) from error
        self.doublings = doublings
        #: Smallest side of a window in pixels, since borders are reflected.
        self.min_size = self.patch_size * (radius // 2 + 1)
        # The last correction, x + 0.1 (A x + b), only mixes channels, and the filters do not mix
        # them: its matrix can be applied first.
        self.register_buffer('matrix', matrix)
        self.register_buffer('bias', _CORRECTION * bias)

    @property
    def channels(self) -> int:
        """Channel width of the features."""
        return len(self.bias)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """Upsample windows, one after the other.

        Args:
            features: Features ``[B, h, w, D]`` of any norm and floating dtype.
            images: Windows ``[B, 3, H, W]``; pixels beyond the last whole patch are ignored.

        Returns:
            Upsampled features ``[B, h', w', D]``, float32.
        """
        windows = zip(features, images)
        return torch.stack([torch.cat(list(self.strips(*window))) for window in windows])

    def strips(self, features: Tensor, image: Tensor) -> Iterator[Tensor]:
        """Upsample a window, and yield strips of rows from top to bottom.

        Args:
            features: Features ``[h, w, D]``.
            image: Window ``[3, H, W]``.

        Yields:
            Upsampled features ``[rows, w', D]``, float32.

        Raises:
            InputError: If the window is too small.
        """
        grid = features.shape[:2]
        height, width = (side * self.patch_size for side in grid)
        if min(height, width) < self.min_size:
            raise InputError(
                f'SimFeatUp needs windows of at least {self.min_size} pixels a side, this one has '
                f'{height}×{width}: enlarge the image'
            )
        image = image[None, :, :height, :width].float()
        x = features.float() @ self.matrix.T
        for number in range(self.doublings):
            size = 2 * x.shape[0], 2 * x.shape[1]
            guide = F.adaptive_avg_pool2d(image, size)[0].permute(1, 2, 0)
            strips = self.filters[min(number, len(self.filters) - 1)](x, guide)
            if number + 1 == self.doublings:
                yield from (strip + self.bias for strip in strips)
            else:
                x = torch.cat(list(strips))


class BilateralFilter(nn.Module):
    """A joint bilateral filter with learned, corrected kernels, which doubles features in size.

    Args:
        tensors: Tensors of a checkpoint.
        name: Prefix of the filter's tensors, without the dot.

    Raises:
        KeyError: If a tensor is missing.
        ValueError: If shapes do not fit a kernel.
    """

    #: Inverse temperature of the logits, and spatial weights ``[T]``.
    temperature: Tensor
    spatial: Tensor

    def __init__(self, tensors: StateDict, name: str):
        super().__init__()

        def layers(part: str) -> nn.Sequential:
            linear = []
            for number in (0, 3):
                weight = tensors[f'{name}.{part}.{number}.weight'].float().flatten(1)
                layer = nn.Linear(weight.shape[1], weight.shape[0])
                layer.weight = nn.Parameter(weight)
                layer.bias = nn.Parameter(tensors[f'{name}.{part}.{number}.bias'].float())
                linear.append(layer)
            return nn.Sequential(linear[0], nn.GELU(), linear[1])

        self.range, self.correct = layers('range_proj'), layers('fixup_proj')
        taps = len(tensors[f'{name}.fixup_proj.3.bias'])
        side = math.isqrt(taps)
        shapes = [tuple(tensors[f'{name}.fixup_proj.{n}.weight'].shape[:2]) for n in (0, 3)]
        if side**2 != taps or side % 2 == 0 or shapes != [(taps, taps + 3), (taps, taps)]:
            raise ValueError(f'{name} has kernels of {taps} taps')
        self.radius = side // 2
        self.register_buffer('temperature', tensors[f'{name}.range_temp'].float().exp())
        self.temperature.clamp_(1e-4, 1e4)
        place = torch.linspace(-1, 1, side)
        distance = (place[:, None] ** 2 + place**2).flatten()
        sigma = tensors[f'{name}.sigma_spatial'].float()
        self.register_buffer('spatial', (-distance / (2 * sigma**2)).exp())

    def forward(self, x: Tensor, guide: Tensor) -> Iterator[Tensor]:
        """Double features in size.

        Args:
            x: Features ``[h, w, D]``, float32.
            guide: The image at the size of the result, ``[2h, 2w, 3]``.

        Yields:
            Strips of the result, ``[rows, 2w, D]``.
        """
        (height, width), radius = guide.shape[:2], self.radius
        side = 4 if height % 4 == width % 4 == 0 else 2  # of a block of pixels
        reach = side + 2 * radius  # side of the area that the kernels of a block cover
        keys = self.range(guide)
        edges = (radius,) * 4
        around = F.pad(keys.permute(2, 0, 1)[None], edges, 'reflect')[0].permute(1, 2, 0)
        down, across = (_enlarge(length, radius, x.device) for length in x.shape[:2])
        wide = (across @ x).flatten(1)  # [h, (2w + 2 radius) * D]
        of_rows = width * x.shape[2] * (reach / side) ** 2
        step = max(int(tile_limit(x.device) / of_rows) // side, 1) * side
        for top in range(0, height, step):
            rows, seen = slice(top, top + step), slice(top, top + step + 2 * radius)
            kernels = self.kernels(
                _blocks(keys[rows], side, side),
                _blocks(around[seen], reach, side),
                _blocks(guide[rows], side, side),
            )
            weights = kernels.new_zeros(len(kernels), side**2, reach**2)
            taps = _taps(weights, side, radius)
            taps.copy_(kernels.view(taps.shape))
            # The rows that these are interpolated from, including those reflected at the border.
            used = slice(max((top - radius) // 2 - 2, 0), (top + step + radius) // 2 + 3)
            values = (down[seen, used] @ wide[used]).unflatten(1, (across.shape[0], -1))
            mixed = weights @ _blocks(values, reach, side)
            mixed = mixed.unflatten(0, (-1, width // side)).unflatten(2, (side, side))
            yield mixed.transpose(1, 2).flatten(0, 1).flatten(1, 2)

    def kernels(self, keys: Tensor, around: Tensor, guide: Tensor) -> Tensor:
        """Compute the weights of a kernel's T taps; they may be negative or not sum to 1.

        Args:
            keys: Projected pixels, in blocks, ``[n, b², C]``.
            around: Projected pixels around each block, ``[n, (b + 2 radius)², C]``.
            guide: Pixels of each block, ``[n, b², 3]``.

        Returns:
            Weights ``[n, b², T]``, the taps row by row.
        """
        logits = _taps(keys @ around.transpose(1, 2), math.isqrt(keys.shape[1]), self.radius)
        logits = logits.reshape(*keys.shape[:2], -1) * self.temperature
        kernels = logits.softmax(-1) * self.spatial
        kernels = kernels / kernels.sum(-1, keepdim=True).clamp(min=1e-7)
        return kernels + _CORRECTION * self.correct(torch.cat([kernels, guide], -1))


def _blocks(x: Tensor, side: int, step: int) -> Tensor:
    """Cut ``[H, W, C]`` into squares ``[n, side², C]``, row by row, one every ``step`` pixels."""
    blocks = x.unfold(0, side, step).unfold(1, side, step)
    return blocks.permute(0, 1, 3, 4, 2).flatten(0, 1).flatten(1, 2)


def _taps(matrix: Tensor, side: int, radius: int) -> Tensor:
    """View the entries of a matrix that lie within each pixel's kernel.

    Args:
        matrix: One row per pixel of a block, one column per pixel around the block, ``[n, b²,
            (b + 2 radius)²]``.
        side: Side b of a block.
        radius: Radius of the kernels in pixels.

    Returns:
        View ``[n, b, b, 2 radius + 1, 2 radius + 1]``.
    """
    reach, count = side + 2 * radius, 2 * radius + 1
    matrix = matrix.contiguous()
    strides = matrix.stride(0), side * reach**2 + reach, reach**2 + 1, reach, 1
    return matrix.as_strided((len(matrix), side, side, count, count), strides)


@cached_tensors(max_bytes=1 << 24)
def _enlarge(length: int, margin: int, device: torch.device) -> Tensor:
    """Matrix ``[2 length + 2 margin, length]`` of bicubic doubling of one side, ends reflected."""
    unit = torch.eye(length, device=device)[None, :, :, None]
    doubled = F.interpolate(unit, (2 * length, 1), mode='bicubic', align_corners=False)
    return F.pad(doubled[..., 0], (margin, margin), 'reflect')[0].T.contiguous()


class UpsampledText:
    """A text head that compares upsampled features, without keeping them.

    Args:
        upsampler: The upsampler.
        text: The text head.
        images: Windows ``[B, 3, H, W]``.
    """

    def __init__(self, upsampler: SimFeatUp, text: Compare, images: Tensor):
        self.upsampler, self.text, self.images = upsampler, text, images

    def __call__(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """See :class:`.windowed_image.Compare`; scores have the upsampled size."""
        parts = []
        for number, (window, image) in enumerate(zip(features, self.images, strict=True)):
            own = () if adjusted is None else (adjusted.for_window(number),)
            strips = self.upsampler.strips(window, image)
            parts.append(torch.cat([self.text(strip[None], *own) for strip in strips], 2))
        return torch.cat(parts)
