"""Talk2DINO: windows → cosines of DINO's patches with queries mapped by a trained head.

Barsellotti et al., *Talking to DINO: Bridging Self-Supervised Vision Backbones with Language for
Open-Vocabulary Segmentation*, ICCV 2025.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...towers import Tokens, attention_logits
from ...towers.normalisation import IMAGENET, fold_normalisation
from ...towers.proxy import load_second_tower
from ...towers.vit import matrices
from ...utils.errors import InputError
from ...utils.torch_types import height_width
from ..encoder import ImageEncoder
from ..file_image import FileImage
from ..image_encoder import check_precision
from ..methods import Classify
from ..methods.base import unflatten_map
from ..refiners import build_image_refiner
from ..view import View
from ..window_batch import choose_window_batch

_SIDE = 448  # side in pixels of the squares that the towers get
_BACKGROUND_WEIGHT = 0.2  # λ of the authors' program
_LARGEST_BATCH = 8  # windows whose maps are refined, with a value per pixel and class


def clean_background(masks: Tensor, fits: Tensor, attention: Tensor) -> Tensor:
    """Mix masks with the attention of the class token's heads, weighted by their fit to queries.

    Args:
        masks: Masks of windows, ``[B, Q, h, w]``.
        fits: Cosines of each head's features with the queries, ``[B, Q, M]``.
        attention: Logits of the class token for the patches, ``[B, M, h, w]``.

    Returns:
        Masks ``[B, Q, h, w]``. They are scaled by the extremes over all queries and patches of a
        window, so a query's mask depends on the other queries.
    """
    seen = (fits.softmax(-1) @ attention.flatten(2)).softmax(-1)
    least, largest = seen.amin((1, 2), keepdim=True), seen.amax((1, 2), keepdim=True)
    seen = ((seen - least) / largest).view_as(masks)  # divided by the maximum, as published
    low, high = (extreme((1, 2, 3), keepdim=True) for extreme in (masks.amin, masks.amax))
    return (masks + _BACKGROUND_WEIGHT * (seen * (high - low) + low)) / (1 + _BACKGROUND_WEIGHT)


@MODELS.register_module()
class Talk2DINOEncoder(ImageEncoder):
    """Sigmoids of the cosines of a frozen DINO's patches with mapped queries.

    Windows of any size are resized to squares of 448 pixels, and their maps back.

    Args:
        tower: ``checkpoint`` of a DINOv2 with registers or a DINOv3, see
            :class:`...towers.proxy.ProxyTower`. Images are normalised by ImageNet's values.
        head: Head that maps texts to this tower's patches, for the text head
            (:class:`.talk2dino_text.Talk2DINOTextHead`); None if embeddings are given. It must have
            been trained on this tower; a head of another tower of equal width gives nonsense.
        clean_background: Whether to mix in :func:`clean_background`'s maps.
        refine: Config of a module that refines the masks of each window, e.g.
            :class:`..pamr.PAMR`; None for none.
        precision: Precision of the tower: ``'fp32'``, ``'fp16'`` or ``'bf16'``. LayerNorm and
            everything after the tower are always computed in float32.

    Raises:
        InputError: If the tower cannot be used, or an argument is unknown.
    """

    patch_size = 1  # windows are enlarged
    align_corners = True
    attention_covers_image = True
    mismatch_hint = (
        'model.image_encoder.head, or text_head.embeddings, must belong to '
        'model.image_encoder.tower (vitb… has 768 dimensions, vitl… 1024)'
    )

    def __init__(
        self,
        tower: Mapping[str, str],
        head: str | None = None,
        clean_background: bool = False,
        refine: dict | None = None,
        precision: str = 'fp32',
    ):
        super().__init__()
        dtype = check_precision(precision)
        if not isinstance(tower, Mapping) or set(tower) != {'checkpoint'}:
            raise InputError(
                'model.image_encoder.tower has one key: write tower=dict(checkpoint=NAME or PATH)'
            )
        if clean_background not in (True, False, None):
            raise InputError(
                f'model.image_encoder.clean_background={clean_background!r} must be True or False'
            )
        key = 'model.image_encoder.refine'
        self.refine = build_image_refiner(refine, key) if refine else None
        self.precision, self.clean_background = precision, clean_background
        key = 'model.image_encoder.tower.checkpoint'
        self.tower, own, family = load_second_tower(tower['checkpoint'], key)
        if family not in ('dinov2', 'dinov3') or self.tower.registers is None:
            raise InputError(
                f"{key}='{tower['checkpoint']}' is not a DINO with registers: Talk2DINO's heads "
                'are for dinov2_vitb14_reg, dinov2_vitl14_reg and DINOv3'
            )
        if self.tower.rotary is not None:
            # Meta's files have periods rounded to bfloat16; the heads were trained without.
            self.tower.rotary = self.tower.rotary._replace(periods=None)
        if not own.is_close(IMAGENET):
            fold_normalisation(self.tower, IMAGENET, own)
        self.tower.set_precision(dtype)
        self.embed_dim = self.tower.width

    def matrices(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that ``precision`` casts."""
        return matrices(self.tower)

    def forward(self, view: View, text: Classify) -> Tensor:
        """Segment windows.

        Args:
            view: Windows of any size.
            text: The text head.

        Returns:
            Scores ``[B, Q, h, w]``, float32, 0.27 to 0.73: on the patch grid, or per pixel if they
            are refined.
        """
        tokens = self._run(view.images, ['normalised', 'output'] if self.clean_background else [])
        features = self._read_out(tokens)
        masks = text(features).sigmoid()
        if self.clean_background:
            attention = self._class_attention(tokens)
            seen = attention.flatten(2) @ features.flatten(1, 2)  # [B, M, D]
            fits = text(seen[:, :, None])[..., 0]
            masks = clean_background(masks, fits, attention)
        if self.refine is None:
            return masks
        fine = F.interpolate(masks, height_width(view.images), mode='bilinear', align_corners=True)
        return self.refine(fine, _pixels(view.images))

    def features(self, view: View, text: Classify) -> Tensor:
        """Compute L2-normalised features ``[B, h, w, D]`` of the patches, float32."""
        return F.normalize(self._read_out(self._run(view.images)), dim=-1)

    def attention_map(self, view: View, text: Classify, file: FileImage | None = None) -> Tensor:
        """Compute attention in the tower's last block, see :class:`..encoder.ImageEncoder`."""
        tokens = self._run(view.images, ['weights'])
        weights = tokens.blocks[len(self.tower.blocks)].weights.float().mean(1)
        return unflatten_map(tokens.map_of(weights), tokens.grid)

    def _run(self, images: Tensor, keep: Sequence[str] = ()) -> Tokens:
        """Run the tower on windows ``[B, 3, H, W]``; keep some values of the last block."""
        size = height_width(images)
        if size != (_SIDE, _SIDE):
            shrunk = max(size) > _SIDE
            images = F.interpolate(images, (_SIDE, _SIDE), mode='bilinear', antialias=shrunk)
        return self.tower.run(images, {len(self.tower.blocks): keep} if keep else None)

    def _read_out(self, tokens: Tokens) -> Tensor:
        """Return features of the patches ``[B, h, w, D]``, float32, not normalised."""
        return self.tower.read_out(tokens.patches).float().unflatten(1, tokens.grid)

    def _class_attention(self, tokens: Tokens) -> Tensor:
        """Compute the class token's logits, float32 ``[B, M, h, w]``, without rotary positions."""
        block = self.tower.blocks[-1]
        normalised = tokens.blocks[len(self.tower.blocks)].normalised
        q, _, _ = block.project(normalised[:, :1])
        k, _ = block.project_kv(tokens.patches_of(normalised))
        return attention_logits(q.float(), k.float())[:, :, 0].unflatten(-1, tokens.grid)

    def choose_batch(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a size (height, width in pixels) to encode at a time."""
        tower = self.tower
        tokens = tower.num_prefix_tokens + (_SIDE // tower.patch_size) ** 2
        chosen = choose_window_batch(tokens, tower.width, tower.heads, tower.device)
        return chosen if self.refine is None else min(chosen, _LARGEST_BATCH)


def _pixels(images: Tensor) -> Tensor:
    """Return RGB values, whole numbers 0 to 255, of images normalised by ImageNet's values."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in IMAGENET)
    # Rounded, since PAMR divides by deviations, which are small in even areas.
    return ((images.float() * std + mean) * 255).round()
