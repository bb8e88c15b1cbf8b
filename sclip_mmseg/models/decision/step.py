"""The base class of steps that follow a rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...datasets.background import Background
from .rule import DecisionRule


@dataclass(frozen=True)
class DecisionStep(DecisionRule):
    """A step that follows another rule; the two together are a rule.

    A step is registered in ``DECISIONS`` under the key of ``model.test_cfg`` that switches it on.
    Its second field gets the key's value.

    Args:
        rule: The rule that this step follows.
    """

    #: Steps are applied in ascending order.
    order: ClassVar[int]
    #: Whether scores stay unchanged.
    keeps_scores: ClassVar[bool] = True
    #: Whether the step only uses each pixel's best class, so that :meth:`apply` does all of it.
    pixelwise: ClassVar[bool] = False

    rule: DecisionRule

    @property
    def needs_map(self) -> bool:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.needs_map

    @property
    def scoring(self) -> DecisionRule:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.scoring if self.keeps_scores else self

    @property
    def core(self) -> DecisionRule:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.core if self.pixelwise else self

    @property
    def background(self) -> Background:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.background

    def apply(self, best: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Change the best scores and classes of pixels, ``[h, w]`` each; return new tensors."""
        return best, classes

    def num_classes(self, class_ids: Sequence[int]) -> int:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.num_classes(class_ids)

    def query_scores(self, query_map: Tensor) -> Tensor:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.query_scores(query_map)

    def scores(self, query_map: Tensor, class_ids: Sequence[int]) -> Tensor:
        """See :class:`.rule.DecisionRule`."""
        return self.rule.scores(query_map, class_ids)

    def best(self, query_map: Tensor, class_ids: Tensor, scored: bool) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        return self.apply(*self.rule.best(query_map, class_ids, scored=True))

    def decide(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        return self.apply(*self.rule.decide(scores))

    def finish(self, best: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`.rule.DecisionRule`."""
        return self.apply(*self.rule.finish(best, classes)) if self.pixelwise else (best, classes)
