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
from .sam3_attention import use_chunked_attention
from .sam3_layout import SIDE, SAM3File, find_sam3, import_sam3
from .sam3_rule import PromptRule
from .sam3_text import SAM3TextHead

_BYTES = 1 << 31  # memory on a CPU for the prompts decoded at a time
_FINE = SIDE // 14 * 4  # side of the masks


@MODELS.register_module()
class SAM3Encoder(ImageEncoder):
    """Scores of prompts, each decoded independently.

    Args:
        checkpoint: Path of Meta's ``sam3.pt``; a folder of ``transformers``; or a name on the
            Hugging Face Hub, ``facebook/sam3``, which is gated. Images are normalised by a mean and
            a standard deviation of 127.5.
        confidence_threshold, use_transformer_decoder, use_sem_seg, use_presence_score: Options of
            :class:`.sam3_rule.PromptRule`.
        precision: Precision of the network: ``'fp32'``, ``'fp16'`` or ``'bf16'``. Text and scores
            are always computed in float32.

    Raises:
        InputError: If the checkpoint cannot be used, or an argument is out of range.
    """

    normalisation = HALF
    checkpoint_finder = staticmethod(find_sam3)
    patch_size = 1
    #: Why it cannot be exported, see :func:`...export.network.find_window`.
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
        #: A ``Sam3Model``; torch's types only know that its parts are modules.
        self.model: Any = SAM3File(find_sam3(checkpoint).weights).network()
        for parameter in self.matrices():
            parameter.data = parameter.data.to(dtype)
        if dtype == torch.float32:
            use_chunked_attention(self.model.detr_decoder)
        self.embed_dim = self.model.config.vision_config.fpn_hidden_size

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts: all of the network's."""
        return self.model.parameters()

    @property
    def _dtype(self) -> torch.dtype:
        return self.model.detr_decoder.query_embed.weight.dtype

    def forward(self, view: View, text: Classify) -> Tensor:
        """Segment windows by prompts.

        Args:
            view: Windows of any size.
            text: The text head, a :class:`.sam3_text.SAM3TextHead`.

        Returns:
            Scores ``[B, Q, H, W]`` per pixel, float32, 0 to 1.
        """
        return torch.stack([self._segment(image, text) for image in view.images])

    def _segment(self, image: Tensor, text: Classify) -> Tensor:
        """Compute scores ``[Q, H, W]`` of all prompts in one window ``[3, H, W]``."""
        if not isinstance(text, SAM3TextHead):
            raise InputError(
                'SAM3Encoder needs prompts of its own text tower: set model.text_head.type='
                "'SAM3TextHead'"
            )
        size, step = height_width(image), self.prompt_batch()
        scores = torch.empty(len(text.valid), *size, device=image.device)
        progress = Progress(len(scores), 'prompts')
        vision, geometry = self.encode_vision(image)
        for start in range(0, len(scores), step):
            rows = slice(start, min(start + step, len(scores)))
            output = self.decode_prompts(vision, geometry, text.embeddings[rows], text.valid[rows])
            scores[rows] = self.rule.maps(output, size)
            if progress.is_due(rows.stop) and rows.stop < len(scores):
                print_log(f'SAM 3: {progress}', 'current')
        return scores

    @torch.no_grad()
    def encode_vision(self, image: Tensor) -> tuple[Any, Tensor]:
        """Compute the outputs for one window ``[3, H, W]`` that do not depend on prompts.

        Returns:
            A ``Sam3VisionEncoderOutput``, and the geometry token ``[1, 1, D]``. Meta's program runs
            its encoder of boxes and points on empty input, and appends its only token to the tokens
            of each prompt. ``Sam3Model`` leaves this out.
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
    def decode_prompts(self, vision: Any, geometry: Tensor, features: Tensor, valid: Tensor) -> Any:
        """Decode N prompts.

        Args:
            vision, geometry: Outputs of :meth:`encode_vision`.
            features, valid: Embeddings and mask of these prompts, from the text head.

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
        """Compute L2-normalised features ``[B, 72, 72, D]`` of the neck, float32."""
        levels = [self.encode_vision(image)[0].fpn_hidden_states[-2] for image in view.images]
        return F.normalize(torch.cat(levels).float().permute(0, 2, 3, 1), dim=-1)

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return 1: windows are encoded one at a time."""
        return 1

    def prompt_batch(self) -> int:
        """Return the number of prompts to decode at a time; it does not depend on free memory."""
        decoder = self.model.detr_decoder.config
        maps = decoder.num_queries + 4 * decoder.hidden_size  # masks, and features per pixel
        nbytes = _FINE**2 * maps * self._dtype.itemsize
        device = self.model.detr_decoder.query_embed.weight.device
        bound = _BYTES
        if device.type == 'cuda':
            bound = torch.cuda.get_device_properties(device).total_memory // 4
        return max(bound // nbytes, 1)


def to_input(image: Tensor) -> Tensor:
    """Resize a window ``[3, H, W]`` of any size to SAM 3's input ``[1, 3, 1008, 1008]``, float32.

    The aspect ratio is not kept; resizing is antialiased, and rounded to 256 levels.
    """
    pixels = (image.float() * 127.5 + 127.5).round()
    x = F.interpolate(pixels[None], (SIDE, SIDE), mode='bilinear', antialias=True)
    return (x.round() / 255 - 0.5) / 0.5
