"""Trident's refinement: SAM redraws the regions of each class."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..regions import CorrectionInputs
from ..registry import POSTPROCESSORS
from ..towers.sam import LOW, PATCH, SIDE, SamImage, SamTower, resized
from ..utils.errors import InputError
from ..utils.torch_types import height_width


class Prompts(NamedTuple):
    """Prompts of the regions of a class.

    Attributes:
        boxes: x1, y1, x2, y2 of each region, in pixels of the image at half size, ``[P, 4]``.
        points: x and y of the largest score in each region, ``[P, 2]``.
    """

    boxes: Tensor
    points: Tensor


@POSTPROCESSORS.register_module()
class SAMRefinement(nn.Module):
    """Redraws the regions of each class by SAM (Trident's ``sam_refine``).

    At half the image size, each connected region of a class prompts SAM with its box, the point of
    the largest score, and the class's scores as a mask. Masks that SAM is confident of replace
    labels; where several overlap, the largest product of mask probability and class score wins.
    Labels outside all masks stay.

    Args:
        coarse_thresh: Smallest score for a pixel, or a class, to take part.
        minimal_area: Smallest number of pixels of a region, at half size.
        iou_thresh: IoU that SAM must predict for a mask; larger values pass.
        mask_factor: Factor on the scores in the mask prompt.

    Raises:
        InputError: If a value is out of range.
    """

    needs_scores = True
    needs_sam = True

    def __init__(
        self,
        coarse_thresh: float = 0.1,
        minimal_area: int = 225,
        iou_thresh: float = 0.8,
        mask_factor: float = 0.005,
    ):
        super().__init__()
        for name, value in (('coarse_thresh', coarse_thresh), ('iou_thresh', iou_thresh)):
            if not 0 <= value <= 1:
                raise InputError(f'model.postprocess.{name}={value!r} must lie between 0 and 1')
        if minimal_area < 0:
            raise InputError(f'model.postprocess.minimal_area={minimal_area} must not be negative')
        self.coarse_thresh, self.minimal_area = coarse_thresh, minimal_area
        self.iou_thresh, self.mask_factor = iou_thresh, mask_factor

    def forward(self, labels: Tensor, inputs: CorrectionInputs) -> Tensor:
        """Redraw labels.

        Args:
            labels: Labels, int64 ``[H, W]``.
            inputs: Class scores ``[K, H, W]``, the image's file, and SAM.

        Returns:
            New labels, int64 ``[H, W]``.
        """
        size = height, width = height_width(labels)
        half = max(height // 2, 1), max(width // 2, 1)
        scores = inputs.scores
        small = F.interpolate(scores[None], half, mode='bilinear', align_corners=False)[0]
        coarse = F.interpolate(labels[None, None].float(), half, mode='nearest')[0, 0].long()
        if self.coarse_thresh > 0:
            coarse = coarse.masked_fill(small.amax(0) < self.coarse_thresh, -1)
        coarse_labels, image = coarse.cpu().numpy(), None
        best = torch.zeros(size, device=labels.device)
        redrawn = labels.clone()
        for number in range(len(scores)):
            if small[number].max() < self.coarse_thresh:
                continue
            prompts = self._prompts(coarse_labels == number, small[number])
            if prompts is None:
                continue
            image = image or inputs.file.encode(inputs.sam, 'whole', ())
            drawn = self._draw(inputs.sam, image, prompts, small[number], size)
            if drawn is not None:
                won = drawn * scores[number] > best
                best = torch.where(won, drawn * scores[number], best)
                redrawn = redrawn.masked_fill(won, number)
        return redrawn

    def _prompts(self, members: np.ndarray, scores: Tensor) -> Prompts | None:
        """Compute the prompts of a class's regions; None if all are too small."""
        from scipy import ndimage  # which takes long to import

        found, _ = ndimage.label(members, np.ones((3, 3), int))
        boxes, points = [], []
        values = scores.cpu().numpy()
        for number, (rows, columns) in enumerate(ndimage.find_objects(found), 1):
            region = found[rows, columns] == number
            if region.sum() < self.minimal_area:
                continue
            boxes.append((columns.start, rows.start, columns.stop - 1, rows.stop - 1))
            inside = np.where(region, values[rows, columns], -np.inf)
            y, x = np.unravel_index(inside.argmax(), inside.shape)
            points.append((columns.start + x, rows.start + y))
        if not boxes:
            return None
        found_boxes, found_points = (
            torch.tensor(values, dtype=torch.float32, device=scores.device)
            for values in (boxes, points)
        )
        return Prompts(found_boxes, found_points)

    def _draw(
        self,
        sam: SamTower,
        image: SamImage,
        prompts: Prompts,
        scores: Tensor,
        size: tuple[int, int],
    ) -> Tensor | None:
        """Compute the largest probability over the accepted masks, 0 outside them, ``[H, W]``.

        None if SAM's predicted IoU is too small for all masks.
        """
        points, boxes = to_sam(prompts, height_width(scores))
        logits, quality = sam.masks(image, points, boxes, self.mask_prompt(scores, size))
        accepted = logits[quality > self.iou_thresh]
        if not len(accepted):
            return None
        largest = torch.full(size, -float('inf'), device=logits.device)
        for each in accepted:
            largest = torch.maximum(largest, enlarge(each, image.size, size))
        return torch.where(largest > 0, largest.sigmoid(), 0)

    def mask_prompt(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute the mask prompt ``[256, 256]`` from a class's scores at half size."""
        low = resized(size, LOW)
        prompt = F.interpolate(scores[None, None], low, mode='bilinear', align_corners=False)[0, 0]
        prompt = torch.where(prompt > self.coarse_thresh, self.mask_factor * prompt, 0)
        return F.pad(prompt, (0, LOW - low[1], 0, LOW - low[0]))


def to_sam(prompts: Prompts, half: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Scale points and boxes to SAM's input. Like the program, use the size of half the image."""
    height, width = (new / old for new, old in zip(resized(half, SIDE), half))
    scale = torch.tensor([width, height], device=prompts.points.device)
    return prompts.points * scale, prompts.boxes * scale.repeat(2)


def enlarge(logits: Tensor, seen: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize logits ``[256, 256]`` to the image's original size.

    Args:
        logits: Logits from SAM's decoder.
        seen: Height and width of the image within SAM's input.
        size: Original height and width of the image.
    """
    height, width = (-(-side // PATCH) * PATCH for side in size)
    padded = height, width
    steps: list[tuple[int, int]] = [(SIDE, SIDE), padded]
    if padded != size:
        steps.append(size)
    x = logits[None, None]
    for number, step in enumerate(steps):
        x = F.interpolate(x, step, mode='bilinear', align_corners=False)
        x = x[..., : seen[0], : seen[1]] if number == 0 else x
    return x[0, 0]
