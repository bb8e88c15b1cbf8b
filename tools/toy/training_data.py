"""Batches of scenes and captions, rendered on the fly."""

from collections import deque
from pathlib import Path
from typing import Deque, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from concepts import Sampler, Vocabulary, name_one, select, write_caption
from pictograms import load_styles
from scenes import compose
from textures import KINDS, make_texture
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from sclip_mmseg.compat import openai_clip

EXTRA_TEXTS = 100  # besides the prompts of VOC's classes and the backgrounds
REPEATS = 2
_POOL = 24  # batches of scenes to choose from
_TEXTURES = 300
_TEXTURE_SIZE = 320
_SEEN = 0.35  # an object of which less can be seen is not there


class Phase(NamedTuple):
    """A part of the training.

    Attributes:
        crop: Side of the pictures in pixels.
        keep: Patches seen by the image tower, of ``(crop // 16) ** 2``.
        batch: Pictures per step.
        steps: Number of steps.
        objects: Most objects in a picture.
        sizes: Smallest and largest object in pixels.
        voc_share: Part of the objects that shows a VOC class.
        late: Part of the steps in which the class token sees the patches in the last block only.
        pooled: Part of the steps in which pictures are embedded by the mean of their patches, whose
            last block leaves out attention.
        strong: Whether colours change much.
        backgrounds: Whether texts name backgrounds, which are much easier to learn than objects.
    """

    crop: int
    keep: int
    batch: int
    steps: int
    objects: int
    sizes: Tuple[int, int]
    voc_share: float = 0.5
    late: float = 0.75
    pooled: float = 0.6
    strong: bool = True
    backgrounds: bool = True


class _Sample(NamedTuple):
    image: np.ndarray  # uint8 [H, W, 3]
    names: List[str]  # of the objects that can be seen
    kind: str  # of the background


class SceneBatches(IterableDataset):
    """Endless batches of scenes.

    Rendering is as much work as a training step, so every scene is used ``REPEATS`` times, mirrored
    at random and with a new caption each time. Batches depend on seed, start and number of workers.

    Args:
        pictograms: Folder of icon sets.
        cache: Folder for rasterised pictograms.
        styles: Icon sets.
        phase: Sizes.
        seed: Of everything.
        start: First step, so that a resumed run renders new scenes.
    """

    def __init__(
        self,
        pictograms: Path,
        cache: Path,
        styles: Tuple[str, ...],
        phase: Phase,
        seed: Sequence[int],
        start: int,
    ):
        chosen = select(load_styles(pictograms, styles, cache))
        self.sampler = Sampler(chosen, phase.voc_share)
        self.vocabulary = Vocabulary([pictogram.name for pictogram in chosen])
        self.tokenizer = openai_clip('simple_tokenizer').SimpleTokenizer()
        self.phase, self.seed, self.start = phase, seed, start
        rng = np.random.default_rng(seed)
        kinds = [KINDS[index % len(KINDS)] for index in range(_TEXTURES)]
        size = _TEXTURE_SIZE
        self.textures = [(kind, make_texture(rng, kind, size, size)) for kind in kinds]

    def __iter__(self) -> Iterator[Tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield batches.

        Yields:
            Pictures uint8 ``[B, H, W, 3]``; tokens of their captions and of E other texts, int64
            ``[B + E, L]``; facts of the pictures, bool ``[B, F]``; facts that the texts state, bool
            ``[B + E, F]``.
        """
        worker = get_worker_info()
        rng = np.random.default_rng([*self.seed, self.start, worker.id if worker else 0])
        batch = self.phase.batch
        pool: Deque[_Sample] = deque(maxlen=_POOL * batch)
        while True:
            pool.extend(self._render(rng) for _ in range(batch))
            for _ in range(REPEATS):
                chosen = rng.choice(len(pool), batch, replace=False)
                yield self._collate(rng, [pool[index] for index in chosen])

    def _render(self, rng: np.random.Generator) -> _Sample:
        phase = self.phase
        kind, texture = self.textures[int(rng.integers(len(self.textures)))]
        y, x = rng.integers(0, _TEXTURE_SIZE - phase.crop + 1, 2)
        background = texture[y : y + phase.crop, x : x + phase.crop]
        objects = [self.sampler.draw(rng) for _ in range(int(rng.integers(1, phase.objects + 1)))]
        sprites = [pictogram.pixels for pictogram in objects]
        scene = compose(rng, background, sprites, phase.sizes, strong=phase.strong)
        seen = zip(objects, scene.visible)
        names = [pictogram.name for pictogram, visible in seen if visible > _SEEN]
        return _Sample(scene.image, names, kind if phase.backgrounds else 'plain')

    def _collate(self, rng: np.random.Generator, samples: List[_Sample]):
        size = self.phase.crop
        images = np.empty((len(samples), size, size, 3), np.uint8)
        shown, stated, texts = [], [], []
        for row, sample in enumerate(samples):
            images[row] = sample.image[:, ::-1] if rng.random() < 0.5 else sample.image
            caption, facts = write_caption(rng, self.vocabulary, sample.names, sample.kind)
            texts.append(caption)
            stated.append(facts)
            objects = [fact for name in sample.names for fact in self.vocabulary.of_object(name)]
            shown.append(objects + self.vocabulary.of_background(sample.kind))
        for fact in self.vocabulary.draw(rng, EXTRA_TEXTS, self.phase.backgrounds):
            texts.append(name_one(rng, self.vocabulary, fact))
            stated.append([fact])
        tokens = [torch.tensor(self._tokenize(text)) for text in texts]
        padded = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        return torch.from_numpy(images), padded, self._to_mask(shown), self._to_mask(stated)

    def _to_mask(self, facts: List[List[int]]) -> Tensor:
        mask = torch.zeros(len(facts), len(self.vocabulary), dtype=torch.bool)
        for row, listed in enumerate(facts):
            mask[row, listed] = True
        return mask

    def _tokenize(self, caption: str) -> List[int]:
        encoder = self.tokenizer.encoder
        ids = self.tokenizer.encode(caption)
        return [encoder['<|startoftext|>'], *ids, encoder['<|endoftext|>']]
