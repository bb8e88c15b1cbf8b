"""Pixel-Adaptive Mask Refinement (Araslanov and Roth, CVPR 2020)."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import REFINERS
from ..utils.errors import InputError

_CHANNELS = 64  # number of channels refined at a time
_EMBEDDING_BAG = 'cpu', 'cuda'  # where torch has the operator; Apple's GPUs (mps) may lack it


def pamr_affinity(image: Tensor, dilations: Sequence[int]) -> Tensor:
    """Weight the eight neighbours of each pixel, at each dilation, by similarity of colour.

    ``softmax`` over all neighbours of the mean over channels of ``-|Δ| / (1e-8 + 0.1 σ)``, where σ
    is the unbiased standard deviation of the channel over the 3×3 neighbourhoods of all dilations,
    with the centre counted in each; borders are replicated.

    Args:
        image: Guiding image ``[B, C, H, W]``.
        dilations: Distances of the neighbours in pixels.

    Returns:
        Weights ``[B, 8 * len(dilations), H, W]``, float32; they sum to 1 over the neighbours.
    """
    image = image.float()
    shifted = list(_neighbours(image, dilations))
    centres = len(dilations)
    count = len(shifted) + centres
    mean = (sum(shifted) + centres * image) / count
    variance = centres * (image - mean) ** 2
    for neighbour in shifted:
        variance += (neighbour - mean) ** 2
    # The minimum is negligible beside 1e-8; the gradient of a root at 0 would be infinite.
    sigma = (variance / (count - 1)).clamp(min=1e-30).sqrt()
    scale = 1e-8 + 0.1 * sigma
    logits = [-((neighbour - image).abs() / scale).mean(1) for neighbour in shifted]
    return torch.stack(logits, 1).softmax(1)


def pamr(
    query_map: Tensor, image: Tensor, num_steps: int, dilations: Sequence[int] = (8, 16)
) -> Tensor:
    """Replace each value by the affinity-weighted sum of its neighbours, ``num_steps`` times.

    A step is torch's ``embedding_bag``: pixels are a table of embeddings, and each pixel sums its
    weighted neighbours. Channels are refined in chunks, so that besides the result only the
    affinity, the neighbours' indices and two copies of a chunk are in memory.

    Args:
        query_map: Maps ``[B, Q, H, W]``; read fastest if in memory as ``[B, H, W, Q]``.
        image: Guiding images ``[B, 3, H, W]``.
        num_steps: Number of replacements.
        dilations: Distances of the neighbours in pixels.

    Returns:
        Refined maps ``[B, Q, H, W]``, float32, in memory as ``[B, H, W, Q]``.
    """
    affinity = pamr_affinity(image, dilations)
    weights = affinity.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
    batch, _, height, width = query_map.shape
    size = batch, height, width
    neighbours = _neighbour_indices(*size, dilations, query_map.device)
    pixels = query_map.permute(0, 2, 3, 1).flatten(0, 2).float()
    refined = torch.empty_like(pixels, memory_format=torch.contiguous_format)
    for start in range(0, pixels.shape[1], _CHANNELS):
        chunk = slice(start, start + _CHANNELS)
        x = pixels[:, chunk].contiguous()
        for _ in range(num_steps):
            x = _weighted_sums(neighbours, x, weights)
        refined[:, chunk] = x
    return refined.unflatten(0, size).permute(0, 3, 1, 2)


def _weighted_sums(neighbours: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted rows of a table.

    Args:
        neighbours: Indices of the rows to sum, int32 ``[M, N]``.
        x: Table ``[M, D]``.
        weights: Weights of the rows, ``[M, N]``.

    Returns:
        Sums ``[M, D]``.
    """
    if x.device.type in _EMBEDDING_BAG:
        return F.embedding_bag(neighbours, x, per_sample_weights=weights, mode='sum')
    total = torch.zeros_like(x)
    for index, weight in zip(neighbours.unbind(1), weights.unbind(1)):
        total.addcmul_(x.index_select(0, index), weight[:, None])
    return total


def _neighbour_indices(
    batch: int, height: int, width: int, dilations: Sequence[int], device: torch.device
) -> Tensor:
    """Indices of each pixel's neighbours in flattened maps, int32 ``[B H W, neighbours]``."""
    image = torch.arange(batch, device=device, dtype=torch.int32)[:, None, None]
    y = torch.arange(height, device=device, dtype=torch.int32)[:, None]
    x = torch.arange(width, device=device, dtype=torch.int32)
    indices = [
        (image * height + (y + dy).clamp(0, height - 1)) * width + (x + dx).clamp(0, width - 1)
        for dy, dx in _offsets(dilations)
    ]
    return torch.stack(indices, -1).flatten(0, 2)


def _neighbours(x: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield views ``[B, C, H, W]`` of a padded copy of ``x``, shifted to each neighbour."""
    reach = max(dilations)
    padded = F.pad(x, [reach] * 4, mode='replicate')
    height, width = x.shape[-2:]
    for top, left in _offsets(dilations):
        y, z = reach + top, reach + left
        yield padded[..., y : y + height, z : z + width]


def _offsets(dilations: Sequence[int]) -> Iterator[tuple[int, int]]:
    for dilation in dilations:
        for dy in (-dilation, 0, dilation):
            for dx in (-dilation, 0, dilation):
                if dy or dx:
                    yield dy, dx


@REFINERS.register_module()
class PAMR(nn.Module):
    """Refines query maps by :func:`pamr`.

    Args:
        num_steps: Number of replacements, positive.
        dilations: Distances of the neighbours in pixels, positive.

    Raises:
        InputError: If a value is not a positive integer.
    """

    def __init__(self, num_steps: int = 10, dilations: Sequence[int] = (8, 16)):
        super().__init__()
        for name, values in (('num_steps', [num_steps]), ('dilations', dilations)):
            numbers = values if isinstance(values, (list, tuple)) and values else [0]
            if any(not isinstance(number, int) or number < 1 for number in numbers):
                raise InputError(f'PAMR: {name}={values} must be positive integers')
        self.num_steps = num_steps
        self.dilations = tuple(dilations)

    def forward(self, query_map: Tensor, image: Tensor) -> Tensor:
        """See :func:`pamr`."""
        return pamr(query_map, image, self.num_steps, self.dilations)
