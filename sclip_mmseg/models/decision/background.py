"""A background with a constant score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ...datasets.background import Background
from ...registry import DECISIONS
from ...utils.errors import InputError
from .checks import check_number
from .step import DecisionStep


@DECISIONS.register_module('background')
@dataclass(frozen=True)
class ConstantBackground(DecisionStep):
    """Adds a background before the classes, which become 1 to K.

    Args:
        rule: The rule that this step follows.
        value: Score of the background, 0 to 1; it wins ties.

    Raises:
        InputError: If ``value`` is out of range.
    """

    order: ClassVar[int] = 0
    keeps_scores: ClassVar[bool] = False

    value: float

    def __post_init__(self) -> None:
        check_number('background', self.value, share=True)

    @property
    def background(self) -> Background:
        """See :class:`.rule.DecisionRule`."""
        return Background.NO_QUERY

    def num_classes(self, class_ids: Sequence[int]) -> int:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.num_classes(class_ids) + 1

    def scores(self, query_map: Tensor, class_ids: Sequence[int]) -> Tensor:
        """See :class:`.rule.DecisionRule`."""
        scores = self.rule.scores(query_map, class_ids)
        return F.pad(scores, (0, 0, 0, 0, 1, 0), value=self.value)

    def best(self, query_map: Tensor, class_ids: Tensor, scored: bool) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        best, classes = self.rule.best(query_map, class_ids, scored=True)
        classes = (classes + 1).masked_fill_(best <= self.value, 0)
        return best.clamp_min(self.value), classes

    def decide(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        return scores.max(0)


def find_background(image_encoder: dict, of_rule: Background) -> Background:
    """Return the kind of background that class 0 of a segmentor is.

    Args:
        image_encoder: Config of the image encoder; if it has a ``background`` other than None, the
            first channel of its maps is a background.
        of_rule: Kind of background of the decision rule.

    Raises:
        InputError: If both add a background.
    """
    if image_encoder.get('background') is None:
        return of_rule
    if of_rule is Background.NO_QUERY:
        raise InputError(
            'there are two backgrounds: set model.test_cfg.background=None, or '
            'model.image_encoder.background=None'
        )
    return Background.NO_QUERY
