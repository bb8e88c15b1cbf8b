"""The area rule of SCLIP's released program."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...datasets.background import Background
from ...registry import DECISIONS
from .checks import check_number
from .step import DecisionStep


@DECISIONS.register_module('area_thd')
@dataclass(frozen=True)
class AreaRule(DecisionStep):
    """Drops classes that win too few pixels, see :func:`apply_area_rule`.

    Args:
        rule: The rule that this step follows.
        value: Share of the foreground that a class must exceed, 0 to 1.

    Raises:
        InputError: If ``value`` is out of range.
    """

    order: ClassVar[int] = 1

    value: float

    def __post_init__(self) -> None:
        check_number('area_thd', self.value, share=True)

    @property
    def needs_map(self) -> bool:
        """See :class:`.rule.DecisionRule`."""
        return True

    @property
    def background(self) -> Background:
        """See :class:`.rule.DecisionRule`."""
        inner = self.rule.background
        return Background.QUERIES if inner is Background.NONE else inner

    def decide(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        return apply_area_rule(scores, self.value).max(0)


def apply_area_rule(scores: Tensor, area_thd: float) -> Tensor:
    """Zero the scores of every foreground class that wins too few pixels.

    A class other than 0 is kept if the pixels where it is the argmax are *more* than ``area_thd``
    times all pixels whose argmax is not 0 (SCLIP's released program, VOC21).

    Args:
        scores: Class scores ``[K, H, W]``, non-negative; changed in place.
        area_thd: Share of the foreground, 0 to 1.

    Returns:
        ``scores``.
    """
    winners = scores.max(0).indices  # twice as fast as argmax on a CPU
    area = winners.flatten().bincount(minlength=len(scores))
    drop = area <= area_thd * area[1:].sum()
    drop[0] = False
    return scores.masked_fill_(drop[:, None, None], 0)
