"""The softmax over queries."""

from dataclasses import dataclass

from torch import Tensor

from ...registry import DECISIONS
from .checks import check_number
from .rule import DecisionRule


@DECISIONS.register_module('softmax')
@dataclass(frozen=True)
class SoftmaxScores(DecisionRule):
    """Scores of queries: the softmax of ``logit_scale`` times the map.

    Args:
        logit_scale: Inverse temperature, positive.

    Raises:
        InputError: If a value is out of range.
    """

    logit_scale: float = 40.0

    def __post_init__(self) -> None:
        check_number('logit_scale', self.logit_scale, positive=True)

    def query_scores(self, query_map: Tensor) -> Tensor:
        """See :class:`.rule.DecisionRule`."""
        return (query_map * self.logit_scale).softmax(-1)

    def best(self, query_map: Tensor, class_ids: Tensor, scored: bool) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`; the softmax is not stored."""
        if scored:
            best, query = best_queries(query_map, self.logit_scale)
        else:
            best, query = query_map.max(-1)
        return best, class_ids[query]


def best_queries(cosines: Tensor, logit_scale: float) -> tuple[Tensor, Tensor]:
    """Find the largest softmax probability over queries without storing the softmax.

    Args:
        cosines: Map ``[..., Q]``.
        logit_scale: Inverse temperature of the softmax.

    Returns:
        The largest probability and its query, both ``[...]``.
    """
    best, query = cosines.max(-1, keepdim=True)
    logits = (cosines - best).mul_(logit_scale)
    return logits.exp_().sum(-1).reciprocal_(), query[..., 0]
