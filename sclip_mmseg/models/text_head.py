"""A linear head on patch features, made of class names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..datasets.query_set import Queries
from ..towers import TextEncoder, check_clip, load_text_tower, resolve_clip, text_options
from ..utils.errors import InputError
from ..utils.files import sha256_of
from .text_embeddings import cached_embeddings
from .texts import read_texts
from .windowed_image import AdjustedQueries


@MODELS.register_module()
class CLIPTextHead(nn.Module):
    """Computes cosines of patch features with the embeddings of text queries.

    The head keeps only the embeddings; the text tower is released after computing them.

    Args:
        queries: Query list by name, path or value, see :func:`..datasets.load_queries`.
        templates: Name of a set of mmseg's templates, or a list of prompts with ``{}``.
        embeddings: Path of an ``.npz`` file of precomputed embeddings, see
            ``tools/extract_text_embeddings.py``. Its queries replace ``queries``, and no text tower
            is needed.
        clip: Checkpoint of the text tower; defaults to the image encoder's in a segmentor.
        quick_gelu, round_weights: Options of the image encoder's.
        normalize_prompts: Whether a query's embedding is the mean of its prompts' L2-normalised
            embeddings, as CLIP's authors define it, or of the embeddings before normalisation.
        sentences: Path of a JSON file, an object query → list of prompts for this query, which
            count as further templates; queries must be spelt as in the file. None for templates
            only.
        share: Another text head whose embeddings are used for the same queries, templates and
            checkpoint; None to share nothing.

    Raises:
        InputError: If queries, templates, a file or the checkpoint cannot be used.
    """

    #: Arguments that default to those of the segmentor's image encoder.
    shared_keys: Sequence[str] = ('clip', 'quick_gelu', 'round_weights')
    embeddings: Tensor
    class_ids: Tensor

    def __init__(
        self,
        queries: Queries | None = None,
        templates: str | Sequence[str] = 'imagenet',
        embeddings: str | None = None,
        clip: str | None = None,
        quick_gelu: bool | None = None,
        round_weights: bool | None = None,
        normalize_prompts: bool = True,
        sentences: str | None = None,
        share: 'CLIPTextHead | None' = None,
    ):
        super().__init__()
        texts = read_texts(queries, templates, embeddings, sentences, warn=True)
        self.query_set = texts.query_set
        self.templates, self.sentences = texts.templates, texts.sentences
        self.clip = clip
        self.quick_gelu = quick_gelu
        self.round_weights = round_weights
        self.normalize_prompts = normalize_prompts
        #: Identifies the text tower; None with embeddings from a file.
        self.source: str | None = None
        self._source: tuple | None = None  # what computed embeddings depend on
        if texts.embeddings is not None:
            print_log(f'Class names and embeddings come from {embeddings}', 'current')
            self.register_buffer('embeddings', texts.embeddings)
        else:
            without = [query for query in self.query_set.queries if query not in self.sentences]
            if sentences is not None and without:
                print_log(f'{sentences} has no sentences for: {", ".join(without)}', 'current')
            self.register_buffer('embeddings', self._embed(share))
        class_ids = torch.tensor(self.query_set.class_ids)
        self.register_buffer('class_ids', class_ids, persistent=False)

    @classmethod
    def check_checkpoints(cls, cfg: Mapping[str, Any]) -> None:
        """Refuse checkpoints that are neither names nor files, without downloading anything.

        Args:
            cfg: Arguments of the head.

        Raises:
            InputError: If the head would read such a checkpoint.
        """
        if cfg.get('clip') is not None and cfg.get('embeddings') is None:
            check_clip(cfg['clip'])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.query_set.num_classes

    def _embed(self, share: 'CLIPTextHead | None') -> Tensor:
        """Compute embeddings ``[Q, D]`` of the queries."""
        path = self.find_checkpoint()
        options = dict(self.tower_options(), head=type(self).__name__)
        self._source = path, self.templates, self.normalize_prompts, options, self.sentences
        self.source = f'{sha256_of(path)} {options}'
        queries, known = self.query_set.queries, {}
        if share is not None and share._source == self._source:
            known = dict(zip(share.query_set.queries, share.embeddings.cpu()))
        if missing := [query for query in queries if query not in known]:
            known.update(zip(missing, self.encode(path, missing, **options)))
        return torch.stack([known[query] for query in queries])

    def encode(self, path: Path, queries: list[str], **options: Any) -> Tensor:
        """Embed queries, or read the embeddings from a cache: one row of any shape per query.

        Args:
            path: Checkpoint file, from :meth:`find_checkpoint`.
            queries: The queries.
            options: Other values that the rows depend on.
        """
        return cached_embeddings(
            path,
            self.load_tower,
            queries,
            self.templates,
            self.normalize_prompts,
            self.sentences,
            **options,
        )

    def tower_options(self) -> dict[str, Any]:
        """Return what the text tower's output depends on, besides its checkpoint.

        Raises:
            InputError: If the options contradict the checkpoint's repository.
        """
        return text_options(self.clip, self.quick_gelu, self.round_weights)

    def find_checkpoint(self) -> Path:
        """Return the file of the text tower, downloaded if needed.

        Raises:
            InputError: If the checkpoint does not exist.
        """
        return resolve_clip(self._named())

    def load_tower(self) -> TextEncoder:
        """Load the text tower, see :class:`..towers.TextTower`.

        Raises:
            InputError: If the checkpoint cannot be used or has no text tower.
        """
        return load_text_tower(self._named(), self.quick_gelu, self.round_weights)

    def _named(self) -> str:
        if self.clip is None:
            raise InputError('text_head needs clip=… (a CLIP by name or path) to encode queries')
        return self.clip

    def forward(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """Compare patches with queries.

        Args:
            features: Features ``[B, h, w, D]`` of any norm.
            adjusted: Queries that a method adjusted to each window; None for the head's own.

        Returns:
            Cosines ``[B, Q, h, w]``, float32, or scores of the adjusted queries.
        """
        features = F.normalize(features.float(), dim=-1)
        if adjusted is None:
            return torch.einsum('bhwd,qd->bqhw', features, self.embeddings)
        scores = torch.einsum('bhwd,bqd->bqhw', features, adjusted.embeddings)
        return scores + adjusted.offsets[..., None, None]
