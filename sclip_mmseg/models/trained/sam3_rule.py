"""Combines SAM 3's instances, semantic map and presence into one score per prompt and pixel.

The rule of SegEarth-OV3 (arXiv 2512.08730), as in its program: instances are multiplied by the
presence twice, the semantic map once.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import InputError
from ..windows import Size

_ENLARGED = 1 << 24  # number of mask elements resized at a time


@dataclass(frozen=True)
class PromptRule:
    """Computes scores of prompts per pixel.

    Args:
        confidence_threshold: Threshold, 0 to 1, that an instance's score, the query's times the
            presence, must exceed.
        use_transformer_decoder: Whether to use instances.
        use_sem_seg: Whether to use the semantic map.
        use_presence_score: Whether to multiply the result by the presence again.

    Raises:
        InputError: If a value is out of range, or neither instances nor semantic map are used.
    """

    confidence_threshold: float
    use_transformer_decoder: bool
    use_sem_seg: bool
    use_presence_score: bool

    def __post_init__(self) -> None:
        value = self.confidence_threshold
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InputError(
                f'model.image_encoder.confidence_threshold={value!r} must be a number between 0 '
                'and 1'
            )
        for name in ('use_transformer_decoder', 'use_sem_seg', 'use_presence_score'):
            if not isinstance(flag := getattr(self, name), bool):
                raise InputError(f'model.image_encoder.{name}={flag!r} must be True or False')
        if not (self.use_transformer_decoder or self.use_sem_seg):
            raise InputError(
                'model.image_encoder uses neither instances nor a semantic map: set '
                'use_transformer_decoder=True or use_sem_seg=True'
            )

    def instance_scores(self, output: Any) -> Tensor:
        """Compute scores of the queries of N prompts, float32 ``[N, q]``.

        Args:
            output: A ``Sam3ImageSegmentationOutput``.
        """
        return output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid()

    def maps(self, output: Any, size: Size) -> Tensor:
        """Compute scores of N prompts per pixel, float32 ``[N, H, W]``, 0 to 1.

        Args:
            output: A ``Sam3ImageSegmentationOutput`` of N prompts.
            size: Height and width H, W in pixels.
        """
        scores = self.instance_scores(output)
        kept = scores > self.confidence_threshold
        if not self.use_transformer_decoder:
            kept = torch.zeros_like(kept)
        counts = kept.sum(1).tolist()
        chosen = zip(scores[kept].split(counts), output.pred_masks[kept].split(counts))
        if self.use_sem_seg:
            maps = enlarge(output.semantic_seg[:, 0], size).sigmoid_()
        else:
            maps = scores.new_zeros(len(scores), *size)
        step = max(_ENLARGED // (size[0] * size[1]), 1)
        for each, count, (weights, logits) in zip(maps, counts, chosen):
            for start in range(0, count, step):
                found = enlarge(logits[start : start + step], size).sigmoid_()
                found *= weights[start : start + step, None, None]
                torch.maximum(each, found.amax(0), out=each)
        if self.use_presence_score:
            maps *= output.presence_logits.float().sigmoid()[..., None]
        return maps


def enlarge(logits: Tensor, size: Size) -> Tensor:
    """Resize logits ``[N, h, w]`` bilinearly to ``[N, H, W]``, float32."""
    return F.interpolate(logits[None].float(), size, mode='bilinear', align_corners=False)[0]
