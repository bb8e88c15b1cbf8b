"""Regions of Segment Anything (SAM and SAM 2), with Hugging Face's transformers."""

from typing import Any

import numpy as np
from mmengine.device import get_device
from PIL import Image

from ..registry import REGION_GENERATORS
from ..utils.errors import InputError, first_line
from .base import paint_masks


@REGION_GENERATORS.register_module()
class SAM2:
    """Masks of SAM 2 for a grid of points, painted into one map.

    Ravi et al., *SAM 2: Segment Anything in Images and Videos*, 2024. The defaults are those of
    CorrCLIP's program. Pixels without a mask are in no region.

    Args:
        checkpoint: Name on the Hugging Face Hub, or folder with a model in its layout.
        points_per_side: Number of points along each side of the image.
        iou_threshold: Minimum predicted IoU of a mask, 0 to 1.
        stability_threshold: Minimum stability score, 0 to 1: the IoU of the masks with the logits
            shifted up and down by 1.
        multimask: Whether a point gives three masks (whole, part, subpart) instead of one.
        device: Device of the model; None for an accelerator if available.

    Raises:
        InputError: If transformers is not installed, or the model or a value cannot be used.
    """

    parallel = False  # each process would load the model

    def __init__(
        self,
        checkpoint: str = 'facebook/sam2.1-hiera-large',
        points_per_side: int = 8,
        iou_threshold: float = 0.4,
        stability_threshold: float = 0.4,
        multimask: bool = False,
        device: str | None = None,
    ):
        if not isinstance(points_per_side, int) or points_per_side < 1:
            raise InputError(
                f'region_masks.points_per_side={points_per_side!r} must be a positive integer'
            )
        thresholds = dict(iou_threshold=iou_threshold, stability_threshold=stability_threshold)
        for name, value in thresholds.items():
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise InputError(f'region_masks.{name}={value!r} must lie between 0 and 1')
        self.options = dict(
            points_per_crop=points_per_side,
            pred_iou_thresh=iou_threshold,
            stability_score_thresh=stability_threshold,
        )
        self._generate = _load(checkpoint, multimask, device or get_device())

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Generate the map of an image, RGB, uint8 ``[H, W, 3]``: int32 ``[H, W]``, 0 for none."""
        masks = self._generate(Image.fromarray(image), **self.options)['masks']
        return paint_masks([np.asarray(mask) for mask in masks], image.shape[:2])


@REGION_GENERATORS.register_module()
class SAM(SAM2):
    """Masks of the first SAM, Kirillov et al., *Segment Anything*, ICCV 2023.

    Args:
        checkpoint: Name on the Hugging Face Hub, or folder with a model in its layout.
        **kwargs: Other arguments of :class:`SAM2`.
    """

    def __init__(self, checkpoint: str = 'facebook/sam-vit-huge', **kwargs: Any):
        super().__init__(checkpoint, **kwargs)


def _load(checkpoint: str, multimask: bool, device: str) -> Any:
    """Build the pipeline of transformers: PIL image → dict with ``masks``."""
    try:
        import torchvision  # noqa: F401 - resizes and filters the masks
        from transformers import MaskGenerationPipeline, pipeline
    except ImportError as error:
        raise InputError(
            'SAM and SAM 2 need transformers and torchvision: pip install "sclip_mmseg[regions]" '
            f'({first_line(error)})'
        ) from error

    class Pipeline(MaskGenerationPipeline):
        # The base class overrides its own base's signature in the same way.
        def _forward(self, model_inputs: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            model_inputs['multimask_output'] = multimask
            return super()._forward(model_inputs, *args, **kwargs)

    try:
        return pipeline('mask-generation', checkpoint, device=device, pipeline_class=Pipeline)
    except (OSError, ValueError) as error:
        raise InputError(
            f"region_masks.checkpoint='{checkpoint}' cannot be loaded by transformers: give a "
            'model on the Hugging Face Hub, or a folder with one '
            f'({first_line(error)})'
        ) from error
