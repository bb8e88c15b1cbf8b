"""GroupViT's text tower."""

from pathlib import Path
from typing import Any

from mmseg.registry import MODELS
from torch import Tensor

from ...towers import TextEncoder, TextTower
from ...utils.errors import InputError
from ..text_head import CLIPTextHead
from .groupvit_layout import GroupViTFile, Projector
from .published import find_trained


class ProjectedTextTower(TextEncoder):
    """A text tower whose projection is a network.

    Args:
        tower: Text tower without projection.
        projector: Network in place of the projection.
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
        checkpoint: A GroupViT, see :class:`.groupvit.GroupViTEncoder`; defaults to the encoder's.
        **kwargs: Arguments of :class:`..text_head.CLIPTextHead`, except ``clip``.
    """

    shared_keys = ('checkpoint',)

    def __init__(self, checkpoint: str = '', **kwargs: Any):
        super().__init__(**kwargs, clip=checkpoint)

    def tower_options(self) -> dict[str, Any]:
        """Return constant options: the output depends on nothing but the checkpoint."""
        return dict(quick_gelu=True, round_weights=None)

    def find_checkpoint(self) -> Path:
        """See :class:`..text_head.CLIPTextHead`."""
        if not self.clip:
            raise InputError('text_head needs checkpoint=… (a GroupViT) to encode queries')
        return find_trained(self.clip).weights

    def load_tower(self) -> ProjectedTextTower:
        """See :class:`..text_head.CLIPTextHead`."""
        file = GroupViTFile(self.find_checkpoint())
        tower = file.text_tower()
        return ProjectedTextTower(tower, file.projector('text', tower.output_dim))
