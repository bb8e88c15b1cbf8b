"""A threshold on the best score."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...datasets.background import Background
from ...registry import DECISIONS
from .checks import check_number
from .step import DecisionStep


@DECISIONS.register_module('prob_thd')
@dataclass(frozen=True)
class Threshold(DecisionStep):
    """Makes pixels class 0, a background, whose best class score is below a threshold.

    Args:
        rule: What comes before.
        value: The threshold, 0 to 1.

    Raises:
        InputError: If the value is out of its range.
    """

    order: ClassVar[int] = 2
    pixelwise: ClassVar[bool] = True

    value: float

    def __post_init__(self) -> None:
        check_number('prob_thd', self.value, share=True)

    @property
    def background(self) -> Background:
        """See :class:`.rule.DecisionRule`."""
        inner = self.rule.background
        return Background.QUERIES if inner is Background.NONE else inner

    def apply(self, best: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.step.DecisionStep`."""
        return best, classes.masked_fill(best < self.value, 0)
