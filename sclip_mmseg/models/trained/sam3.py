"""SAM 3: windows → scores of prompts at each pixel.

Meta, *SAM 3: Segment Anything with Concepts*, 2025, with the rule of SegEarth-OV3.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...towers.normalisation import HALF
from ...utils.errors import InputError
from ...utils.progress import Progress
from ...utils.torch_types import height_width
from ..encoder import ImageEncoder
from ..image_encoder import check_precision
from ..methods import Classify
from ..view import View
from .sam3_attention import sum_in_parts
from .sam3_layout import SIDE, SAM3File, find_sam3, import_sam3
from .sam3_rule import PromptRule
from .sam3_text import SAM3TextHead

_BYTES = 1 << 31  # that prompts at a time may take on a CPU
_FINE = SIDE // 14 * 4  # side of the masks


@MODELS.register_module()
class SAM3Encoder(ImageEncoder):
    """Scores of prompts, each looked for by itself.

    Args:
        checkpoint: Meta's ``sam3.pt`` by path; a folder of ``transformers``; or a name on the
            Hugging Face Hub, ``facebook/sam3``, which is gated. Images come with a mean and a
            standard deviation of 127.5.
        confidence_threshold, use_transformer_decoder, use_sem_seg, use_presence_score: See
            :class:`.sam3_rule.PromptRule`.
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``, of the network. Text and scores are always
            computed in float32.

    Raises:
        InputError: If the checkpoint cannot be used, or an argument is out of its range.
    """

    normalisation = HALF
    patch_size = 1
    #: What an export would need, see :func:`...export.network.find_window`.
    not_exported = 'a pass of its network for each prompt'

    def __init__(
        self,
        checkpoint: str,
        confidence_threshold: float = 0.5,
        use_transformer_decoder: bool = True,
        use_sem_seg: bool = True,
        use_presence_score: bool = True,
        precision: str = 'fp32',
    ):
        super().__init__()
        self.rule = PromptRule(
            confidence_threshold, use_transformer_decoder, use_sem_seg, use_presence_score
        )
        self.precision, dtype = precision, check_precision(precision)
        import_sam3()  # before anything is downloaded
        #: A ``Sam3Model``, of whose parts torch's types know no more than that they are modules.
        self.model: Any = SAM3File(find_sam3(checkpoint).weights).network()
        for parameter in self.matrices():
            parameter.data = parameter.data.to(dtype)
        if dtype == torch.float32:
            sum_in_parts(self.model.detr_decoder)
        self.embed_dim = self.model.config.vision_config.fpn_hidden_size

    def matrices(self) -> Iterator[nn.Parameter]:
        """The parameters that ``precision`` casts: all of the network's."""
        return self.model.parameters()

    @property
    def _dtype(self) -> torch.dtype:
        return self.model.detr_decoder.query_embed.weight.dtype

    def forward(self, view: View, text: Classify) -> Tensor:
        """Look for prompts in windows.

        Args:
            view: Windows of any size.
            text: The text head, a :class:`.sam3_text.SAM3TextHead`.

        Returns:
            Scores ``[B, Q, H, W]`` of each pixel, float32, 0 to 1.
        """
        return torch.stack([self._see(image, text) for image in view.images])

    def _see(self, image: Tensor, text: Classify) -> Tensor:
        """Scores ``[Q, H, W]`` of all prompts in one window ``[3, H, W]``."""
        if not isinstance(text, SAM3TextHead):
            raise InputError(
                'SAM3Encoder takes prompts of its own text tower: set model.text_head.type='
                "'SAM3TextHead'"
            )
        size, step = height_width(image), self.prompt_batch()
        scores = torch.empty(len(text.valid), *size, device=image.device)
        vision, geometry = self.see(image)
        progress = Progress(len(scores), 'prompts')
        for start in range(0, len(scores), step):
            rows = slice(start, min(start + step, len(scores)))
            output = self.ask(vision, geometry, text.embeddings[rows], text.valid[rows])
            scores[rows] = self.rule.maps(output, size)
            if progress.is_due(rows.stop) and rows.stop < len(scores):
                print_log(f'SAM 3: {progress}', 'current')
        return scores

    @torch.no_grad()
    def see(self, image: Tensor) -> tuple[Any, Tensor]:
        """Outputs for one window ``[3, H, W]`` that do not depend on prompts.

        Returns:
            A ``Sam3VisionEncoderOutput``, and the geometry token ``[1, 1, D]``: a program of Meta's
            runs its encoder of boxes and points without any, and hands its one token on behind
            those of each prompt. ``Sam3Model`` leaves it out.
        """
        vision = self.model.get_vision_features(to_input(image).to(self._dtype))
        level, positions = (
            part[-2].flatten(2).mT
            for part in (vision.fpn_hidden_states, vision.fpn_position_encoding)
        )
        encoder = self.model.geometry_encoder
        token = encoder.prompt_layer_norm(encoder.final_proj(encoder.cls_embed.weight))[None]
        for layer in encoder.layers:
            token = layer(token, level, positions, prompt_mask=None)
        return vision, encoder.output_layer_norm(token)

    @torch.no_grad()
    def ask(self, vision: Any, geometry: Tensor, features: Tensor, valid: Tensor) -> Any:
        """Look for N prompts.

        Args:
            vision, geometry: From :meth:`see`.
            features, valid: Rows of those of :class:`.sam3_text.SAM3TextHead`.

        Returns:
            A ``Sam3ImageSegmentationOutput``.
        """
        count = len(features)
        tokens = torch.cat([features.to(geometry.dtype), geometry.expand(count, -1, -1)], 1)
        levels = {
            name: tuple(level.expand(count, -1, -1, -1) for level in vision[name])
            for name in ('fpn_hidden_states', 'fpn_position_encoding')
        }
        return self.model(
            vision_embeds=type(vision)(**levels),
            text_embeds=type(vision)(pooler_output=tokens),
            attention_mask=F.pad(valid, (0, 1), value=True),
        )

    def features(self, view: View, text: Classify) -> Tensor:
        """L2-normalised features ``[B, 72, 72, D]`` of the neck, float32."""
        levels = [self.see(image)[0].fpn_hidden_states[-2] for image in view.images]
        return F.normalize(torch.cat(levels).float().permute(0, 2, 3, 1), dim=-1)

    def choose_batch(self, size: tuple[int, int]) -> int:
        """One window at a time."""
        return 1

    def prompt_batch(self) -> int:
        """Number of prompts to look for at a time, whatever memory is free."""
        decoder = self.model.detr_decoder.config
        maps = decoder.num_queries + 4 * decoder.hidden_size  # and the pixels' features
        nbytes = _FINE**2 * maps * self._dtype.itemsize
        device = self.model.detr_decoder.query_embed.weight.device
        bound = _BYTES
        if device.type == 'cuda':
            bound = torch.cuda.get_device_properties(device).total_memory // 4
        return max(bound // nbytes, 1)


def to_input(image: Tensor) -> Tensor:
    """SAM 3's input ``[1, 3, 1008, 1008]``, float32, of a window ``[3, H, W]`` of any size.

    Squeezed whatever its aspect ratio, with antialias, and rounded to 256 levels.
    """
    pixels = (image.float() * 127.5 + 127.5).round()
    x = F.interpolate(pixels[None], (SIDE, SIDE), mode='bilinear', antialias=True)
    return (x.round() / 255 - 0.5) / 0.5
