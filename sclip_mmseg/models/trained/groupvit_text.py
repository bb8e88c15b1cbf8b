"""GroupViT's text tower."""

from pathlib import Path
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor

from ...towers import TextEncoder, TextTower
from ...utils.errors import InputError
from ..text_head import CLIPTextHead
from .groupvit_layout import GroupViTFile, Projector
from .published import resolve_trained


class ProjectedTextTower(TextEncoder):
    """A text tower whose projection is a network of its own.

    Args:
        tower: Without projection.
        projector: In its place.
    """

    def __init__(self, tower: TextTower, projector: Projector):
        super().__init__()
        self.tower, self.projector = tower, projector
        self.context_length, self.output_dim = tower.context_length, projector.output_dim

    def forward(self, tokens: Tensor) -> Tensor:
        """See :class:`...towers.TextTower`."""
        return self.projector(self.tower(tokens))


@MODELS.register_module()
class GroupViTTextHead(CLIPTextHead):
    """:class:`..text_head.CLIPTextHead` with GroupViT's text tower.

    Args:
        checkpoint: See :class:`.groupvit.GroupViTEncoder`, whose it is by default.
        **kwargs: See :class:`..text_head.CLIPTextHead`; without ``clip``.
    """

    shared_keys = ('checkpoint',)

    def __init__(self, checkpoint: str = '', **kwargs: Any):
        super().__init__(**kwargs, clip=checkpoint)

    def tower_options(self) -> dict[str, Any]:
        """The same for all: its checkpoint tells the rest."""
        return dict(quick_gelu=True, round_weights=None)

    def find_checkpoint(self) -> Path:
        """See :class:`..text_head.CLIPTextHead`."""
        if not self.clip:
            raise InputError('text_head needs checkpoint=… (a GroupViT) to encode queries')
        return resolve_trained(self.clip)

    def load_tower(self) -> ProjectedTextTower:
        """See :class:`..text_head.CLIPTextHead`."""
        file = GroupViTFile(self.find_checkpoint())
        tower = file.text_tower()
        return ProjectedTextTower(tower, file.projector('text', tower.output_dim))
