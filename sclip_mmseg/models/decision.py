"""From query maps to classes: pure functions."""

from collections import defaultdict
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

_CHUNK = 1 << 24  # elements of the query map softened at a time


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
    return torch.stack([query_scores[members[c]].amax(0) for c in range(len(members))])


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
    area = scores.argmax(0).flatten().bincount(minlength=len(scores))
    keep = area > area_thd * area[1:].sum()
    keep[0] = True
    scores[~keep] = 0
    return scores


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


def segment(
    query_map: Tensor,
    class_ids: Sequence[int],
    logit_scale: float,
    prob_thd: float = 0.0,
    area_thd: Optional[float] = None,
) -> Tuple[Tensor, Tensor]:
    """Turn a map of cosines into class scores and classes.

    Softmax of ``logit_scale * query_map`` over the queries, maximum over the queries of a class,
    area rule, argmax, background threshold; float32 throughout. Rows are processed in chunks, so
    that beside the result only a small part of the query map exists a second time.

    Args:
        query_map: Cosines ``[Q, H, W]``.
        class_ids: See :func:`class_scores`.
        logit_scale: Inverse temperature of the softmax.
        prob_thd: See :func:`decide`.
        area_thd: See :func:`apply_area_rule`; None for no area rule.

    Returns:
        Class scores, float32 ``[K, H, W]``, and classes, int64 ``[H, W]``.
    """
    queries, height, width = query_map.shape
    num_classes = max(class_ids) + 1
    scores = query_map.new_empty((num_classes, height, width), dtype=torch.float32)
    rows = max(_CHUNK // (queries * width), 1)
    for top in range(0, height, rows):
        logits = query_map[:, top : top + rows].float() * logit_scale
        scores[:, top : top + rows] = class_scores(logits.softmax(0), class_ids)
    return scores, decide(scores, prob_thd, area_thd)
