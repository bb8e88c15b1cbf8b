"""A threshold on the best score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...datasets.background import Background
from ...registry import DECISIONS
from ...utils.errors import InputError
from .checks import check_number
from .step import DecisionStep


@DECISIONS.register_module('prob_thd')
@dataclass(frozen=True)
class Threshold(DecisionStep):
    """Sets pixels whose best class score is below a threshold to a background class.

    Args:
        rule: The rule that this step follows.
        value: Threshold, 0 to 1.
        bg_idx: Index of the background class; None for class 0, which must be named background.

    Raises:
        InputError: If a value is out of range.
    """

    order: ClassVar[int] = 2
    pixelwise: ClassVar[bool] = True

    value: float
    bg_idx: int | None = None

    def __post_init__(self) -> None:
        check_number('prob_thd', self.value, share=True)
        index = self.bg_idx
        if index is not None and (not isinstance(index, int) or index < 0):
            raise InputError(f'test_cfg.bg_idx={index!r} must be the index of a class, or None')

    @property
    def background(self) -> Background:
        """See :class:`.rule.DecisionRule`."""
        inner = self.rule.background
        assumed = inner is Background.NONE and self.bg_idx is None
        return Background.QUERIES if assumed else inner

    def num_classes(self, class_ids: Sequence[int]) -> int:
        """See :class:`.rule.DecisionRule`.

        Raises:
            InputError: If ``bg_idx`` is not a class.
        """
        count = super().num_classes(class_ids)
        if self.bg_idx is not None and self.bg_idx >= count:
            raise InputError(
                f'test_cfg.bg_idx={self.bg_idx} is not a class: the {count} classes are 0 to '
                f'{count - 1}'
            )
        return count

    def apply(self, best: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.step.DecisionStep`."""
        return best, classes.masked_fill(best < self.value, self.bg_idx or 0)
