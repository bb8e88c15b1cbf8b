"""Segment Anything's image encoder, prompt encoder and mask decoder, from ``transformers``."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..utils.errors import InputError
from .normalisation import IMAGENET
from .repository import Checkpoint, Family, find_named
from .spec import TRANSFORMERS, WEIGHTS, read_weights
from .tensor_files import read_tensors

SIDE = 1024  # of SAM's input, in pixels
PATCH = 16
LOW = 256  # side of mask prompts and of the decoder's masks

# Meta's names → transformers', applied in this order.
_NAMES = (
    (r'^image_encoder\.', 'vision_encoder.'),
    (r'^vision_encoder\.blocks\.', 'vision_encoder.layers.'),
    (r'patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'(vision_encoder\.layers\.\d+)\.norm(\d)', r'\1.layer_norm\2'),
    (r'neck\.0\.', 'neck.conv1.'),
    (r'neck\.1\.', 'neck.layer_norm1.'),
    (r'neck\.2\.', 'neck.conv2.'),
    (r'neck\.3\.', 'neck.layer_norm2.'),
    (r'pe_layer\.positional_encoding_gaussian_matrix', 'shared_embedding.positional_embedding'),
    (r'point_embeddings\.', 'point_embed.'),
    (r'mask_downscaling\.0\.', 'mask_embed.conv1.'),
    (r'mask_downscaling\.1\.', 'mask_embed.layer_norm1.'),
    (r'mask_downscaling\.3\.', 'mask_embed.conv2.'),
    (r'mask_downscaling\.4\.', 'mask_embed.layer_norm2.'),
    (r'mask_downscaling\.6\.', 'mask_embed.conv3.'),
    (r'(transformer\.layers\.\d+)\.norm(\d)', r'\1.layer_norm\2'),
    (r'norm_final_attn', 'layer_norm_final_attn'),
    (r'output_upscaling\.0\.', 'upscale_conv1.'),
    (r'output_upscaling\.1\.', 'upscale_layer_norm.'),
    (r'output_upscaling\.3\.', 'upscale_conv2.'),
    (r'(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.', r'\1.proj_in.'),
    (r'(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.', r'\1.layers.0.'),
    (r'(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.', r'\1.proj_out.'),
)
# One tensor with two names.
_SHARED = 'prompt_encoder.shared_embedding.positional_embedding'
_SHARED_ABOVE = 'shared_image_embedding.positional_embedding'


@dataclass
class SamImage:
    """Outputs of SAM's image encoder for one image.

    Attributes:
        embedding: Input of the mask decoder, ``[1, 256, 64, 64]``.
        q, k, v: Queries, keys and values of the last block, ``[heads, 64 * 64, d]``.
        size: Height and width of the image within SAM's padded input, in pixels.
    """

    embedding: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    size: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens inside the image."""
        return self.size[0] // PATCH, self.size[1] // PATCH


class SamTower(nn.Module):
    """Segment Anything (Kirillov et al., ICCV 2023), frozen, in float32.

    Args:
        checkpoint: Path of Meta's file (``sam_vit_b_01ec64.pth``) or of a folder in the layout of
            ``transformers``, or a name on the Hugging Face Hub, such as ``facebook/sam-vit-base``.

    Raises:
        InputError: If ``transformers`` is not installed or the checkpoint cannot be used.
    """

    def __init__(self, checkpoint: str):
        super().__init__()
        #: A ``SamModel``; Any, as torch's types only know its parts as modules.
        self.model: Any = _load(checkpoint).float().eval()

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.shared_image_embedding.positional_embedding.device

    @torch.no_grad()  # results must not depend on whether gradients are enabled
    def encode(self, pixels: np.ndarray) -> SamImage:
        """Run the image encoder on an image, RGB, uint8 ``[H, W, 3]``, resized to fit its input."""
        size = resized(pixels.shape[:2], SIDE)
        image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
        mean, std = (torch.tensor(values, device=self.device) * 255 for values in IMAGENET)
        x = torch.from_numpy(np.array(image)).to(self.device).float()
        x = ((x - mean) / std).permute(2, 0, 1)[None]
        x = F.pad(x, (0, SIDE - size[1], 0, SIDE - size[0]))
        encoder = self.model.vision_encoder
        x = encoder.patch_embed(x)
        x = x if encoder.pos_embed is None else x + encoder.pos_embed
        *layers, last = encoder.layers
        for layer in layers:
            x = _output(layer(x))
        heads = last.attn.num_attention_heads
        q, k, v = last.attn.qkv(last.layer_norm1(x)).flatten(1, 2)[0].chunk(3, -1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (q, k, v))
        return SamImage(encoder.neck(_output(last(x))), q, k, v, size)

    @torch.no_grad()
    def attention(self, image: SamImage, head: int, rows: Tensor) -> Tensor:
        """Attention of some tokens to all tokens in the last block, float32 ``[n, 64 * 64]``.

        Args:
            image: Result of :meth:`encode`.
            head: Index of the attention head.
            rows: Indices of the n tokens, row by row of 64.
        """
        attn = self.model.vision_encoder.layers[-1].attn
        side = SIDE // PATCH
        q, k = image.q[head, rows], image.k[head]
        logits = ((q * q.shape[-1] ** -0.5) @ k.T).unflatten(1, (side, side))
        place = torch.arange(side, device=rows.device)
        down = rows[:, None] // side - place + side - 1  # query - key
        across = rows[:, None] % side - place + side - 1
        logits += torch.einsum('nd,nhd->nh', q, attn.rel_pos_h[down])[:, :, None]
        logits += torch.einsum('nd,nwd->nw', q, attn.rel_pos_w[across])[:, None]
        return logits.flatten(1).softmax(-1)

    def masks(
        self, image: SamImage, points: Tensor, boxes: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict a mask for each of P regions.

        Args:
            image: Result of :meth:`encode`.
            points: Prompt point of each region, x and y in pixels of SAM's input, ``[P, 2]``.
            boxes: Prompt box of each region, x1, y1, x2, y2, ``[P, 4]``.
            mask: Mask prompt for all regions, ``[256, 256]``.

        Returns:
            Mask logits ``[P, 256, 256]``, and their predicted IoU ``[P]``.
        """
        encoder = self.model.prompt_encoder
        labels = torch.ones(1, len(points), 1, dtype=torch.int, device=points.device)
        sparse, _ = encoder(points[None, :, None], labels, boxes[None], None)
        masks, quality = self.model.mask_decoder(
            image_embeddings=image.embedding,
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=embed_mask(encoder.mask_embed, mask[None])[None],
            multimask_output=False,
        )[:2]
        return masks[0, :, 0], quality[0, :, 0]


def embed_mask(embedding: Any, mask: Tensor) -> Tensor:
    """Embed a mask prompt like Trident's program.

    It passes SAM a mask ``[1, 256, 256]`` without a batch dimension, so both LayerNorms of the
    embedding normalise over the rows of each column and channel instead of over the channels. The
    published numbers depend on this.

    Args:
        embedding: A ``SamMaskEmbedding`` of ``transformers``.
        mask: Mask prompt ``[1, H, W]``.

    Returns:
        Embedding ``[256, H / 4, W / 4]``.
    """
    x = mask
    for conv, norm in (
        (embedding.conv1, embedding.layer_norm1),
        (embedding.conv2, embedding.layer_norm2),
    ):
        x = conv(x)
        centred = x - x.mean(1, keepdim=True)
        x = centred / (centred.square().mean(1, keepdim=True) + norm.eps).sqrt()
        x = F.gelu(norm.weight[:, None, None] * x + norm.bias[:, None, None])
    return embedding.conv3(x)


def resized(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Height and width scaled so that the larger is ``longest``, each rounded half up."""
    scale = longest / max(size)
    height, width = (math.floor(side * scale + 0.5) for side in size)
    return height, width


def to_multiples(pixels: np.ndarray) -> np.ndarray:
    """Enlarge an image ``[H, W, 3]`` to the next multiples of the patch size with OpenCV."""
    height, width = (-(-side // PATCH) * PATCH for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)


def _output(value: Any) -> Tensor:
    """The tokens in a layer's output; some versions of ``transformers`` return more."""
    return value[0] if isinstance(value, tuple) else value


_FAMILY = Family(
    'model.image_encoder.sam.checkpoint',
    read=read_weights,
    configs=WEIGHTS[TRANSFORMERS],
    refusal="is neither Meta's file, nor a folder, nor a name on the Hub such as "
    'facebook/sam-vit-base',
)


def find_sam(checkpoint: str) -> Checkpoint:
    """Find a SAM by path or by its name on the Hub, with or without ``hf:``.

    Raises:
        InputError: If ``checkpoint`` is neither, or the download fails.
    """
    return find_named(checkpoint, _FAMILY)


def _load(checkpoint: str) -> Any:
    """Load a model; its sizes are inferred from the tensors."""
    try:
        from transformers import SamConfig, SamModel
    except ImportError as error:
        raise InputError(
            f'Segment Anything needs transformers: pip install "sclip_mmseg[sam]" ({error})'
        ) from error
    path = find_sam(checkpoint).weights
    found = read_tensors(path)
    if any(name.startswith('image_encoder.') for name in found):
        found = dict(_renamed(found))
    try:
        positions = found['vision_encoder.pos_embed']
        width, depth = positions.shape[-1], 0
        spans = []
        while f'vision_encoder.layers.{depth}.attn.rel_pos_h' in found:
            spans.append(found[f'vision_encoder.layers.{depth}.attn.rel_pos_h'])
            depth += 1
        side = positions.shape[1]
        vision = dict(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=width // spans[0].shape[1],
            mlp_dim=len(found['vision_encoder.layers.0.mlp.lin1.bias']),
            global_attn_indexes=[n for n, span in enumerate(spans) if len(span) == 2 * side - 1],
        )
        # Meta's epsilon of the decoder, whatever a config states.
        config = SamConfig(vision_config=vision, mask_decoder_config=dict(layer_norm_eps=1e-5))
        model = SamModel(config)
        if _SHARED_ABOVE in found:
            found.setdefault(_SHARED, found[_SHARED_ABOVE])
        found[_SHARED_ABOVE] = found[_SHARED]
        model.load_state_dict(found)
    except (KeyError, IndexError, RuntimeError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise InputError(
            f'{path} is not a SAM in the layout of Meta (such as sam_vit_b_01ec64.pth) or of '
            f'transformers: {reason}'
        ) from error
    return model


def _renamed(tensors: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        yield name, tensor
