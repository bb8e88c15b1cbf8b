"""Batches of scenes and captions, rendered on the fly."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from concepts import VOC_ICONS, Sampler, Vocabulary, name_one, select, write_caption
from pictograms import load_icons, load_styles
from rendering import Renderer
from textures import KINDS, make_texture
from torch import Tensor

from sclip_mmseg.utils.compat import openai_clip

EXTRA_TEXTS = 100  # besides the prompts of VOC's classes and the backgrounds
_SPRITE, _TEXTURES, _TEXTURE_SIZE = 96, 400, 320
_SEEN = 0.3  # objects with a smaller visible share do not count


class Phase(NamedTuple):
    """A phase of the training.

    Attributes:
        steps: Number of steps.
        side: Side of the images in pixels.
        batch: Images per step.
        objects: Minimum and maximum number of objects in an image.
        sizes: Minimum and maximum size of an object in pixels.
        keep: Number of patches that the image tower sees, of ``(side // 16) ** 2``.
        late: Share of the steps in which the class token only attends to patches in the last block.
        pooled: Share of the steps in which the embedding is the mean of the patches after a last
            block without attention.
        backgrounds: Whether texts name backgrounds, which are much easier to learn than objects.
    """

    steps: int
    side: int
    batch: int
    objects: tuple[int, int]
    sizes: tuple[int, int]
    keep: int
    late: float
    pooled: float
    backgrounds: bool = False


class Batch(NamedTuple):
    """Scenes and texts.

    Attributes:
        images: Images, float32 ``[B, 3, H, W]``, 0 to 1.
        tokens: Tokens of the scenes' captions and E other texts, int64 ``[B + E, L]``.
        shown: Facts shown in the scenes, bool ``[B, F]``.
        stated: Facts stated by the texts, bool ``[B + E, F]``.
    """

    images: Tensor
    tokens: Tensor
    shown: Tensor
    stated: Tensor


class SceneBatches:
    """Scenes of pictograms with captions.

    Args:
        pictograms: Folder of icon sets.
        cache: Folder for rasterised pictograms.
        styles: Names of icon sets.
        icons: Whether to draw monochrome icons too.
        seed: Seed of the backgrounds and, with the step number, of each batch.
        device: Device for rendering.
    """

    def __init__(
        self,
        pictograms: Path,
        cache: Path,
        styles: Sequence[str],
        icons: bool,
        seed: int,
        device: str,
    ):
        drawings = select(load_styles(pictograms, styles, cache))
        symbols = load_icons(pictograms, VOC_ICONS, cache) if icons else []
        self.pictograms = drawings + symbols
        self.sampler = Sampler(drawings, symbols)
        self.vocabulary = Vocabulary([pictogram.name for pictogram in drawings])
        self.tokenizer = openai_clip('simple_tokenizer').SimpleTokenizer()
        self.seed, self.device = seed, device
        sprites = torch.stack([_shrink(pictogram.pixels) for pictogram in self.pictograms])
        rng = np.random.default_rng(seed)
        self.kinds = [KINDS[index % len(KINDS)] for index in range(_TEXTURES)]
        size = _TEXTURE_SIZE
        painted = [make_texture(rng, kind, size, size) for kind in self.kinds]
        textures = torch.from_numpy(np.stack(painted))
        textures = textures.permute(0, 3, 1, 2).contiguous()
        self.renderer = Renderer(sprites.to(device), textures.to(device))

    def make(self, step: int, phase: Phase) -> Batch:
        """Render the batch of a step, which depends only on seed, step and phase."""
        rng = np.random.default_rng([self.seed, step])
        torch.manual_seed(int(rng.integers(2**31)))
        low, high = phase.objects
        count = phase.batch, high
        drawn = np.array([self.sampler.draw(rng) for _ in range(math.prod(count))]).reshape(count)
        drawn[np.arange(high) >= rng.integers(low, high + 1, (phase.batch, 1))] = -1
        textures = rng.integers(_TEXTURES, size=phase.batch)
        images, visible = self.renderer(
            torch.from_numpy(drawn).to(self.device),
            torch.from_numpy(textures),
            phase.side,
            phase.sizes,
        )
        drawn[visible.cpu().numpy() < _SEEN] = -1
        shown, stated, texts = [], [], []
        for row, texture in zip(drawn, textures):
            names = [self.pictograms[index].name for index in row if index >= 0]
            kind = self.kinds[texture] if phase.backgrounds else 'plain'
            facts = [fact for name in names for fact in self.vocabulary.of_object(name)]
            shown.append(facts + self.vocabulary.of_background(kind))
            text, facts = write_caption(rng, self.vocabulary, names, kind)
            texts.append(text)
            stated.append(facts)
        for fact in self.vocabulary.draw(rng, EXTRA_TEXTS, phase.backgrounds):
            texts.append(name_one(rng, self.vocabulary, fact))
            stated.append([fact])
        rows = [self._tokenize(text) for text in texts]
        # Padded to few different lengths, since every new shape costs time and memory.
        length = -(-max(map(len, rows)) // 8) * 8
        tokens = torch.stack([F.pad(row, (0, length - len(row))) for row in rows])
        masks = self._to_mask(shown), self._to_mask(stated)
        return Batch(images, *(tensor.to(self.device) for tensor in (tokens, *masks)))

    def _to_mask(self, facts: list[list[int]]) -> Tensor:
        mask = torch.zeros(len(facts), len(self.vocabulary), dtype=torch.bool)
        for row, listed in enumerate(facts):
            mask[row, listed] = True
        return mask

    def _tokenize(self, text: str) -> Tensor:
        encoder = self.tokenizer.encoder
        ids = self.tokenizer.encode(text)
        return torch.tensor([encoder['<|startoftext|>'], *ids, encoder['<|endoftext|>']])


def _shrink(pixels: np.ndarray) -> Tensor:
    """Resize RGBA, uint8 ``[S, S, 4]``, to premultiplied RGBA, uint8 ``[4, s, s]``."""
    sprite = torch.from_numpy(pixels).permute(2, 0, 1).float()
    sprite[:3] *= sprite[3:] / 255
    size = (_SPRITE, _SPRITE)
    small = F.interpolate(sprite[None], size, mode='bilinear', antialias=True)[0]
    return small.round().byte()
