"""The sigmoid of each query."""

from dataclasses import dataclass

from torch import Tensor

from ...registry import DECISIONS
from .checks import check_number
from .rule import DecisionRule


@DECISIONS.register_module('sigmoid')
@dataclass(frozen=True)
class SigmoidScores(DecisionRule):
    """Scores of queries: the sigmoid of ``logit_scale`` times the map plus ``logit_bias``.

    Args:
        logit_scale: Factor on the map, positive.
        logit_bias: Offset, added after scaling.

    Raises:
        InputError: If a value is out of range.
    """

    logit_scale: float = 40.0
    logit_bias: float = 0.0

    def __post_init__(self) -> None:
        check_number('logit_scale', self.logit_scale, positive=True)
        check_number('logit_bias', self.logit_bias)

    def query_scores(self, query_map: Tensor) -> Tensor:
        """See :class:`.rule.DecisionRule`."""
        return (query_map * self.logit_scale + self.logit_bias).sigmoid()

    def best(self, query_map: Tensor, class_ids: Tensor, scored: bool) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`; the sigmoid is monotonic, so the map decides."""
        best, query = query_map.max(-1)
        return self.query_scores(best) if scored else best, class_ids[query]
