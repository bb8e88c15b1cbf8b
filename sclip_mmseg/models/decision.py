"""From query maps to classes: pure functions."""

from collections import defaultdict
from functools import lru_cache
from typing import Iterable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .sliding_window import Size, Tile


def class_scores(query_scores: Tensor, class_ids: Sequence[int]) -> Tensor:
    """Give each class the maximum of its queries.

    Args:
        query_scores: ``[Q, ...]``.
        class_ids: The class of each query, Q integers that cover 0 to K - 1.

    Returns:
        ``[K, ...]``, of the dtype of ``query_scores``.
    """
    members = defaultdict(list)
    for query, class_id in enumerate(class_ids):
        members[class_id].append(query)
    if len(members) == len(class_ids) and list(members) == sorted(members):
        return query_scores
    groups = (members[c] for c in range(len(members)))
    return torch.stack([_take(query_scores, group).amax(0) for group in groups])


def _take(query_scores: Tensor, queries: List[int]) -> Tensor:
    first, last = queries[0], queries[-1] + 1
    if last - first == len(queries):
        return query_scores[first:last]
    return query_scores[index_tensor(tuple(queries), query_scores.device)]


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def index_tensor(values: Tuple[int, ...], device: torch.device) -> Tensor:
    """Integers on a device, copied there once."""
    return torch.tensor(values).to(device, non_blocking=True)


def apply_area_rule(scores: Tensor, area_thd: float) -> Tensor:
    """Zero the scores of every foreground class that wins too few pixels.

    A class other than 0 is kept if the pixels where it is the argmax are *more* than ``area_thd``
    times all pixels whose argmax is not 0 (SCLIP's released program, VOC21).

    Args:
        scores: Class scores ``[K, H, W]``, not negative; changed in place.
        area_thd: Share of the foreground, 0 to 1.

    Returns:
        ``scores``.
    """
    winners = scores.argmax(0).flatten()
    area = winners.new_zeros(len(scores)).scatter_add_(0, winners, torch.ones_like(winners))
    drop = area <= area_thd * area[1:].sum()
    drop[0] = False
    return scores.masked_fill_(drop[:, None, None], 0)


def decide(scores: Tensor, prob_thd: float = 0.0, area_thd: Optional[float] = None) -> Tensor:
    """Choose each pixel's class: the argmax, or class 0 where the maximum is below ``prob_thd``.

    Args:
        scores: Class scores ``[K, H, W]``; the area rule changes them in place.
        prob_thd: 0 to 1.
        area_thd: See :func:`apply_area_rule`, which comes first; None for no area rule.

    Returns:
        int64 ``[H, W]``.
    """
    if area_thd is not None:
        apply_area_rule(scores, area_thd)
    best, classes = scores.max(0)
    return classes.masked_fill_(best < prob_thd, 0)


def best_queries(cosines: Tensor, logit_scale: float) -> Tuple[Tensor, Tensor]:
    """Find the largest softmax over queries without keeping the softmax.

    Args:
        cosines: ``[..., Q]``.
        logit_scale: Inverse temperature of the softmax.

    Returns:
        The largest probability and its query, both ``[...]``.
    """
    best, query = cosines.max(-1, keepdim=True)
    logits = (cosines - best).mul_(logit_scale)
    return logits.exp_().sum(-1).reciprocal_(), query[..., 0]


def segment(
    tiles: Iterable[Tile],
    size: Size,
    class_ids: Sequence[int],
    logit_scale: float,
    prob_thd: float = 0.0,
    area_thd: Optional[float] = None,
    keep_scores: bool = True,
) -> Tuple[Optional[Tensor], Tensor]:
    """Turn a map of cosines into class scores and classes, piece by piece.

    Softmax of ``logit_scale * cosines`` over the queries, maximum over the queries of a class, area
    rule, argmax, background threshold; float32 throughout. Beside the result only one piece is
    held, unless the area rule needs all scores.

    Args:
        tiles: Rows, columns and cosines ``[h, w, Q]`` of pieces that cover the map.
        size: Height and width of the map.
        class_ids: See :func:`class_scores`.
        logit_scale: Inverse temperature of the softmax.
        prob_thd: See :func:`decide`.
        area_thd: See :func:`apply_area_rule`; None for no area rule.
        keep_scores: Whether to return the scores.

    Returns:
        Class scores, float32 ``[K, H, W]``, or None; and classes, int64 ``[H, W]``.
    """
    num_classes = max(class_ids) + 1
    scores = classes = None
    for rows, columns, cosines in tiles:
        cosines = cosines.float()
        if classes is None:
            classes = torch.empty(size, dtype=torch.int64, device=cosines.device)
            if keep_scores or area_thd is not None:
                scores = cosines.new_empty((num_classes, *size))
        if scores is None:
            classes[rows, columns] = _decide_cosines(cosines, class_ids, logit_scale, prob_thd)
            continue
        probabilities = (cosines * logit_scale).softmax(-1).permute(2, 0, 1).contiguous()
        tile = class_scores(probabilities, class_ids)
        scores[:, rows, columns] = tile
        if area_thd is None:
            classes[rows, columns] = decide(tile, prob_thd)
    if area_thd is not None:
        classes = decide(scores, prob_thd, area_thd)
    return scores if keep_scores else None, classes


def _decide_cosines(
    cosines: Tensor, class_ids: Sequence[int], logit_scale: float, prob_thd: float
) -> Tensor:
    """Classes ``[h, w]`` of cosines ``[h, w, Q]``: the class of the best query."""
    if prob_thd > 0:
        best, query = best_queries(cosines, logit_scale)
    else:
        best, query = None, cosines.max(-1).indices
    if list(class_ids) != list(range(len(class_ids))):
        query = index_tensor(tuple(class_ids), query.device)[query]
    return query if best is None else query.masked_fill_(best < prob_thd, 0)
