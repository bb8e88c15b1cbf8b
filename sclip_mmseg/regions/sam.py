"""Regions of Segment Anything, SAM and SAM 2, through Hugging Face's transformers."""

from typing import Any

import numpy as np
from mmengine.device import get_device
from PIL import Image

from ..registry import REGION_GENERATORS
from ..utils.errors import InputError
from .base import paint_masks


@REGION_GENERATORS.register_module()
class SAM2:
    """Masks of SAM 2 around a grid of points, painted into one map.

    Ravi et al., *SAM 2: Segment Anything in Images and Videos*, 2024. The defaults are those of
    CorrCLIP's program. Pixels without a mask are in no region.

    Args:
        checkpoint: Name on the Hugging Face Hub, or folder of a model in its layout.
        points_per_side: Points along each side of the picture.
        iou_threshold: Quality that the model must expect of a mask, 0 to 1.
        stability_threshold: Share of a mask that must stay when its logits are moved by 1, 0 to 1.
        multimask: Whether a point gives three masks (whole, part, subpart) instead of one.
        device: None for the accelerator where there is one.

    Raises:
        InputError: If transformers is not installed, or the model or a value cannot be used.
    """

    parallel = False  # each process would hold the model

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
        """Make the map of a picture, RGB, uint8 ``[H, W, 3]``: int32 ``[H, W]``, 0 for none."""
        masks = self._generate(Image.fromarray(image), **self.options)['masks']
        return paint_masks([np.asarray(mask) for mask in masks], image.shape[:2])


@REGION_GENERATORS.register_module()
class SAM(SAM2):
    """The same of the first SAM, Kirillov et al., *Segment Anything*, ICCV 2023.

    Args:
        checkpoint: Name on the Hugging Face Hub, or folder of a model in its layout.
        **kwargs: See :class:`SAM2`.
    """

    def __init__(self, checkpoint: str = 'facebook/sam-vit-huge', **kwargs: Any):
        super().__init__(checkpoint, **kwargs)


def _load(checkpoint: str, multimask: bool, device: str) -> Any:
    """Build transformers' pipeline: PIL image → dict of ``masks``."""
    try:
        import torchvision  # noqa: F401 - which its masks are resized and sifted by
        from transformers import MaskGenerationPipeline, pipeline
    except ImportError as error:
        raise InputError(
            'SAM and SAM 2 need transformers and torchvision: pip install "sclip_mmseg[regions]" '
            f'({str(error).strip().splitlines()[0]})'
        ) from error

    class Pipeline(MaskGenerationPipeline):
        # The mask generation of transformers overrides its own base's in the same way.
        def _forward(self, model_inputs: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            model_inputs['multimask_output'] = multimask
            return super()._forward(model_inputs, *args, **kwargs)

    try:
        return pipeline('mask-generation', checkpoint, device=device, pipeline_class=Pipeline)
    except (OSError, ValueError) as error:
        raise InputError(
            f"region_masks.checkpoint='{checkpoint}' cannot be loaded by transformers: name a "
            'model of the Hugging Face Hub, or a folder that holds one '
            f'({str(error).strip().splitlines()[0]})'
        ) from error
