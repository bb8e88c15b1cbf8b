"""SAM 3's text tower: prompts → features of their tokens."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...datasets.query_set import Queries
from ...towers import TextEncoder, TextTower
from ...utils.errors import InputError
from ...utils.progress import Progress
from ...utils.words import counted
from ..text_embeddings import cached_rows, tokenize
from ..text_head import CLIPTextHead
from ..windowed_image import AdjustedQueries
from .sam3_layout import SAM3File, find_sam3

CONTEXT = 32  # number of tokens of a prompt
_BATCH = 64  # number of prompts encoded at a time


class SAM3TextTower(TextEncoder):
    """A text tower that outputs all tokens.

    Args:
        tower: Text tower without projection.
        projector: Projection of each token.
    """

    def __init__(self, tower: TextTower, projector: nn.Linear):
        super().__init__()
        self.tower, self.projector = tower, projector
        self.context_length, self.output_dim = tower.context_length, projector.out_features

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute features ``[B, L, D]`` of tokens, int64 ``[B, L]``."""
        return self.projector(self.tower.norm(self.tower.hidden(tokens)))


@MODELS.register_module()
class SAM3TextHead(CLIPTextHead):
    """Token features of the queries, which SAM 3's network takes as prompts.

    A query is used as a prompt without a template, truncated to 32 tokens.

    Args:
        queries: Query list by name, path or value, see :func:`...datasets.load_queries`.
        checkpoint: A SAM 3, see :class:`.sam3.SAM3Encoder`; defaults to the encoder's.
        share: Another text head whose embeddings are used for the same queries.

    Attributes:
        embeddings: Token features, float32 ``[Q, 32, D]``.
        valid: Mask of tokens that are not padding, bool ``[Q, 32]``.
    """

    shared_keys = ('checkpoint',)
    valid: Tensor

    def __init__(
        self,
        queries: Queries | None = None,
        checkpoint: str = '',
        share: CLIPTextHead | None = None,
    ):
        super().__init__(queries, templates=['{}'], clip=checkpoint, share=share)
        tokens = self._tokens(self.query_set.queries)
        self.register_buffer('valid', tokens.ne(0), persistent=False)

    def _tokens(self, queries: tuple[str, ...] | list[str]) -> Tensor:
        """Return token ids, int64 ``[Q, 32]``, with zeros after the end token."""
        tokens = torch.zeros(len(queries), CONTEXT, dtype=torch.int64)
        for row, ids in zip(tokens, tokenize(queries, CONTEXT, cut=True)):
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def tower_options(self) -> dict[str, Any]:
        """Return no options: the output depends on nothing but the checkpoint."""
        return {}

    @cached_property
    def _path(self) -> Path:
        if not self.clip:
            raise InputError('text_head needs checkpoint=… (a SAM 3) to encode queries')
        return find_sam3(self.clip).weights

    def find_checkpoint(self) -> Path:
        """See :class:`..text_head.CLIPTextHead`."""
        return self._path

    def load_tower(self) -> SAM3TextTower:
        """See :class:`..text_head.CLIPTextHead`."""
        return SAM3TextTower(*SAM3File(self.find_checkpoint()).text_tower())

    def encode(self, path: Path, queries: list[str], **options: Any) -> Tensor:
        """See :class:`..text_head.CLIPTextHead`; features ``[Q, 32, D]`` of all tokens."""

        @torch.no_grad()
        def run(heartbeat: Callable[[], None]) -> Tensor:
            print_log(f'Encoding {counted(len(queries), "prompt")}', 'current')
            tower = self.load_tower().to(device := get_device())
            tower.register_forward_hook(lambda *_: heartbeat())
            progress, parts = Progress(len(queries), 'prompts'), []
            for part in self._tokens(queries).split(_BATCH):
                parts.append(tower(part.to(device)).cpu())
                progress.is_due(_BATCH * (len(parts) - 1) + len(part))
            features = torch.cat(parts)
            if not features.isfinite().all():
                raise InputError(f'{path} embeds queries as NaN or infinity: use an undamaged file')
            return features

        def fits(rows: Tensor) -> bool:
            return rows.shape[:2] == (len(queries), CONTEXT) and bool(rows.isfinite().all())

        return cached_rows(path, [queries, options], run, fits)

    def forward(self, features: Tensor, adjusted: AdjustedQueries | None = None) -> Tensor:
        """Raise an error, since SAM 3's network itself compares images with prompts.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("SAM 3's features are not compared with embeddings of queries")
