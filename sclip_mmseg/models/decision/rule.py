"""The interface of decision rules, and the decision of a map tile by tile."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...datasets.background import Background
from ..fusion import QueryMap


@dataclass(frozen=True)
class DecisionRule:
    """Turns a query map into classes.

    A rule is a frozen dataclass whose fields are keys of ``model.test_cfg``. It is registered in
    ``DECISIONS`` under its value of ``test_cfg.activation``. Only :meth:`query_scores` must be
    implemented; the other methods follow from it, though overriding them can be faster. An addition
    to a rule, such as a threshold, is a :class:`.step.DecisionStep` that wraps it.
    """

    def query_scores(self, query_map: Tensor) -> Tensor:
        """Compute scores of the queries, float32 ``[..., Q]``, from a map ``[..., Q]``, float32."""
        raise NotImplementedError

    @property
    def needs_map(self) -> bool:
        """Whether the decision needs the scores of the whole image at once."""
        return False

    @property
    def scoring(self) -> 'DecisionRule':
        """The rule without the steps that keep scores unchanged."""
        return self

    @property
    def core(self) -> 'DecisionRule':
        """The rule without the last steps that only use each pixel's best class."""
        return self

    @property
    def background(self) -> 'Background':
        """Kind of background, see :class:`...datasets.background.Background`."""
        return Background.NONE

    def finish(self, best: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the steps that :attr:`core` omits to best scores and classes, ``[h, w]`` each."""
        return best, classes

    def num_classes(self, class_ids: Sequence[int]) -> int:
        """Return the number of classes, given the class of each query."""
        return max(class_ids) + 1

    def scores(self, query_map: Tensor, class_ids: Sequence[int]) -> Tensor:
        """Compute class scores ``[K, h, w]`` of a tile.

        Args:
            query_map: Map ``[h, w, Q]``, float32.
            class_ids: Class of each query, see :func:`class_scores`.
        """
        queries = self.query_scores(query_map).permute(2, 0, 1).contiguous()
        return class_scores(queries, class_ids)

    def best(self, query_map: Tensor, class_ids: Tensor, scored: bool) -> tuple[Tensor, Tensor]:
        """Find the best class of each pixel of a tile, without keeping all scores.

        Args:
            query_map: Map ``[h, w, Q]``, float32.
            class_ids: Class of each query, int64 ``[Q]``.
            scored: Whether the score is used; if not, its value is arbitrary.

        Returns:
            The best score, float32, and its class, int64, both ``[h, w]``.
        """
        best, query = self.query_scores(query_map).max(-1)
        return best, class_ids[query]

    def decide(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Choose classes by the scores of a tile; of a whole image if :attr:`needs_map`.

        Args:
            scores: Class scores ``[K, h, w]`` from :meth:`scores`; may be changed in place.

        Returns:
            The best score, float32, and its class, int64, both ``[h, w]``.
        """
        return scores.max(0)


def class_scores(scores: Tensor, class_ids: Sequence[int]) -> Tensor:
    """Compute class scores as the maximum over each class's queries.

    Args:
        scores: Scores of the queries, ``[Q, ...]``.
        class_ids: Class of each query, Q integers that cover 0 to K - 1.

    Returns:
        Class scores ``[K, ...]`` of the dtype of ``scores``.
    """
    members = defaultdict(list)
    for query, class_id in enumerate(class_ids):
        members[class_id].append(query)
    if len(members) == len(class_ids) and list(members) == sorted(members):
        return scores
    groups = (members[c] for c in range(len(members)))
    return torch.stack([_take(scores, group).amax(0) for group in groups])


def _take(scores: Tensor, queries: list[int]) -> Tensor:
    first, last = queries[0], queries[-1] + 1
    if last - first == len(queries):
        return scores[first:last]
    return torch.stack([scores[query] for query in queries])


def segment(
    query_map: QueryMap,
    class_ids: Tensor,
    rule: DecisionRule,
    keep_scores: bool,
) -> tuple[Tensor | None, Tensor]:
    """Turn a query map into class scores and classes, tile by tile, in float32.

    Besides the result, only one tile is in memory, unless the rule needs the whole map.

    Args:
        query_map: The map.
        class_ids: Class of each query, int64 ``[Q]``, see :func:`class_scores`.
        rule: The decision rule.
        keep_scores: Whether to return the scores.

    Returns:
        Class scores, float32 ``[K, H, W]``, or None; and classes, int64 ``[H, W]``.
    """
    if rule.needs_map:
        whole = _whole_scores(query_map, class_ids, rule)
        classes = rule.decide(whole)[1]
        return whole if keep_scores else None, classes
    ids = class_ids.tolist()
    classes = torch.empty(query_map.size, dtype=torch.int64, device=class_ids.device)
    scores = None
    if keep_scores:
        scores = torch.empty(rule.num_classes(ids), *query_map.size, device=class_ids.device)
    for rows, columns, values in query_map.tiles():
        values = values.float()
        if scores is None:
            classes[rows, columns] = rule.best(values, class_ids, scored=False)[1]
        else:
            scores[:, rows, columns] = tile = rule.scores(values, ids)
            classes[rows, columns] = rule.decide(tile)[1]
    return scores, classes


def segment_variants(
    query_map: QueryMap,
    class_ids: Tensor,
    rules: Sequence[DecisionRule],
) -> Iterator[tuple[DecisionRule, Tensor]]:
    """Compute the classes of :func:`segment` for several rules.

    Scores are computed once for rules that differ only in steps that keep scores unchanged.

    Args:
        query_map: The map.
        class_ids: Class of each query, int64 ``[Q]``.
        rules: The decision rules.

    Yields:
        Each rule, in any order, and its classes, int64 ``[H, W]``.
    """
    groups: dict[DecisionRule, dict[DecisionRule, list[DecisionRule]]]
    groups = defaultdict(lambda: defaultdict(list))
    for rule in rules:
        core = rule.core
        groups[core.scoring][core].append(rule)
    for scoring, cores in groups.items():
        needs_map = any(core.needs_map for core in cores)
        scores = _whole_scores(query_map, class_ids, scoring) if needs_map else None
        for core, group in cores.items():
            best, classes = (
                core.decide(scores.clone())
                if core.needs_map and scores is not None
                else _whole_best(query_map, class_ids, core, any(r != core for r in group))
            )
            for rule in group:
                yield rule, rule.finish(best, classes)[1]


def _whole_scores(query_map: QueryMap, class_ids: Tensor, rule: DecisionRule) -> Tensor:
    """Compute class scores ``[K, H, W]``."""
    ids = class_ids.tolist()
    scores = torch.empty(rule.num_classes(ids), *query_map.size, device=class_ids.device)
    for rows, columns, values in query_map.tiles():
        scores[:, rows, columns] = rule.scores(values.float(), ids)
    return scores


def _whole_best(
    query_map: QueryMap, class_ids: Tensor, rule: DecisionRule, scored: bool
) -> tuple[Tensor, Tensor]:
    """Compute the best score and class of each pixel, ``[H, W]`` each."""
    best = torch.empty(query_map.size, device=class_ids.device)
    classes = torch.empty(query_map.size, dtype=torch.int64, device=class_ids.device)
    for rows, columns, values in query_map.tiles():
        found = rule.best(values.float(), class_ids, scored)
        best[rows, columns], classes[rows, columns] = found
    return best, classes
