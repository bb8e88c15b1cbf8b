"""GroupViT: windows → scores per pixel, from the segment of the pixel.

Xu et al., *GroupViT: Semantic Segmentation Emerges from Text Supervision*, CVPR 2022.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...towers.vit import cast_matrices, matrices
from ...utils.errors import InputError
from ...utils.torch_types import height_width
from ..encoder import ImageEncoder
from ..image_encoder import check_precision
from ..methods import Classify
from ..view import View
from ..window_batch import choose_window_batch
from .groupvit_layout import GroupViTFile
from .published import find_trained

_SURVIVORS = 5  # number of queries that the image-level filter keeps per window
_LARGEST_BATCH = 8  # windows; maps have a value per pixel and class


def group_affinity(cosines: Tensor, mean_cosines: Tensor, scale: float) -> Tensor:
    """Compute how well each segment of a window fits each query.

    The softmax over all queries, times the softmax over the queries that best fit the whole window.

    Args:
        cosines: Cosines of the segments with the queries, ``[B, G, Q]``.
        mean_cosines: Cosines of the window with the queries, ``[B, Q]``.
        scale: Inverse temperature.

    Returns:
        Affinity ``[B, G, Q]``, 0 to 1.
    """
    logits = cosines * scale
    best = mean_cosines.topk(min(_SURVIVORS, mean_cosines.shape[1])).indices
    dropped = torch.ones_like(mean_cosines, dtype=torch.bool).scatter_(1, best, False)
    filtered = logits.masked_fill(dropped[:, None], float('-inf'))
    return logits.softmax(-1) * filtered.softmax(-1)


def prepend_background(affinity: Tensor, threshold: float) -> Tensor:
    """Add a background before the queries: 1 for segments that fit no query, else 0.

    These are segments whose best affinity is below the threshold, except the window's best segment.

    Args:
        affinity: Affinity ``[B, G, Q]``.
        threshold: Threshold, 0 to 1.

    Returns:
        Affinity ``[B, G, 1 + Q]``.
    """
    best = affinity.amax(-1, keepdim=True)
    background = best < best.amax(1, keepdim=True).clamp(max=threshold)
    return torch.cat([background.to(affinity.dtype), affinity], -1)


def paint(membership: Tensor, table: Tensor, size: tuple[int, int]) -> Tensor:
    """Give each pixel the scores of the segment it belongs to most.

    Args:
        membership: Membership of patches in segments, ``[B, G, h, w]``, resized bilinearly first.
        table: Scores of the segments, ``[B, G, C]``.
        size: Height and width H, W in pixels.

    Returns:
        Scores ``[B, C, H, W]``, in memory as ``[B, H, W, C]``.
    """
    fine = F.interpolate(membership, size, mode='bilinear', align_corners=False)
    image = torch.arange(table.shape[0], device=table.device)[:, None, None]
    return table[image, fine.argmax(1)].permute(0, 3, 1, 2)


@MODELS.register_module()
class GroupViTEncoder(ImageEncoder):
    """Scores of each pixel's segment, decided within each window.

    Args:
        checkpoint: A name in :data:`.published.TRAINED`, or the path of the authors' file or of
            Hugging Face's ``GroupViTModel`` weights. Images are normalised by ImageNet's values.
        background: Affinity below which a segment is background (the authors' ``bg_thresh``), 0 to
            1; None for no background.
        precision: Precision of the network: ``'fp32'``, ``'fp16'`` or ``'bf16'``. Projections and
            decisions are always computed in float32.

    Raises:
        InputError: If the checkpoint cannot be used, or an argument is out of range.
    """

    checkpoint_finder = staticmethod(find_trained)

    def __init__(self, checkpoint: str, background: float | None = None, precision: str = 'fp32'):
        super().__init__()
        if background is not None and not 0 <= background <= 1:
            raise InputError(
                f'model.image_encoder.background={background!r} must lie between 0 and 1'
            )
        dtype = check_precision(precision)
        self.background, self.precision = background, precision
        file = GroupViTFile(find_trained(checkpoint).weights)
        self.network = file.image_network()
        self.projector = file.projector('image', self.network.width)
        self.logit_scale = file.logit_scale()
        cast_matrices(self.network, dtype)
        self.patch_size, self.embed_dim = self.network.patch_size, self.projector.output_dim

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts."""
        return matrices(self.network)

    def forward(self, view: View, text: Classify) -> Tensor:
        """Segment windows.

        Args:
            view: Windows; both sides at least ``patch_size``. Pixels beyond the last whole patch
                are ignored.
            text: The text head.

        Returns:
            Scores ``[B, C, H, W]`` of each pixel, float32, 0 to 1. C is Q, or 1 + Q with the
            background first.
        """
        segments, membership = self.network(view.images)
        segments = segments.float()
        mean = self.projector(segments.mean(1, keepdim=True))
        projected = torch.cat([self.projector(segments), mean], 1)
        cosines = text(projected[:, :, None])[..., 0].mT  # [B, N + 1, Q]
        affinity = group_affinity(cosines[:, :-1], cosines[:, -1], self.logit_scale)
        if self.background is not None:
            affinity = prepend_background(affinity, self.background)
        return paint(membership, affinity, height_width(view.images))

    def features(self, view: View, text: Classify) -> Tensor:
        """Return L2-normalised features ``[B, h, w, D]``, float32: each patch has its segment's."""
        segments, membership = self.network(view.images)
        projected = F.normalize(self.projector(segments.float()), dim=-1)
        return paint(membership, projected, height_width(membership)).permute(0, 2, 3, 1)

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        network = self.network
        rows, columns = (side // network.patch_size for side in size)
        tokens = rows * columns + network.stages[0].num_group_tokens
        device = network.positions.device
        chosen = choose_window_batch(tokens, network.width, network.heads, device)
        return min(chosen, _LARGEST_BATCH)
