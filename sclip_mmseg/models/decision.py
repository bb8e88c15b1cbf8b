"""From query maps to classes: pure functions."""

from collections import defaultdict
from typing import Iterable, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .fusion import Tile
from .inference_cfg import InferenceCfg
from .windows import Size


def query_scores(query_map: Tensor, cfg: InferenceCfg) -> Tensor:
    """Turn a map into scores.

    Args:
        query_map: ``[..., Q]``, float32.
        cfg: Its ``activation``, ``logit_scale`` and ``logit_bias``.

    Returns:
        ``[..., Q]``: the softmax over queries or the sigmoid of ``scale * map + bias``, or the map.
    """
    if cfg.activation is None:
        return query_map
    logits = query_map * cfg.logit_scale
    if cfg.activation == 'sigmoid':
        return (logits + cfg.logit_bias).sigmoid()
    return logits.softmax(-1)


def class_scores(scores: Tensor, class_ids: Sequence[int]) -> Tensor:
    """Give each class the maximum of its queries.

    Args:
        scores: Of the queries, ``[Q, ...]``.
        class_ids: The class of each query, Q integers that cover 0 to K - 1.

    Returns:
        ``[K, ...]``, of the dtype of ``scores``.
    """
    members = defaultdict(list)
    for query, class_id in enumerate(class_ids):
        members[class_id].append(query)
    if len(members) == len(class_ids) and list(members) == sorted(members):
        return scores
    groups = (members[c] for c in range(len(members)))
    return torch.stack([_take(scores, group).amax(0) for group in groups])


def _take(scores: Tensor, queries: List[int]) -> Tensor:
    first, last = queries[0], queries[-1] + 1
    if last - first == len(queries):
        return scores[first:last]
    return torch.stack([scores[query] for query in queries])


def add_background(scores: Tensor, background: Optional[float]) -> Tensor:
    """Put a channel of a constant score before class scores ``[K, ...]``; None for no channel."""
    if background is None:
        return scores
    return F.pad(scores, (0,) * 2 * (scores.ndim - 1) + (1, 0), value=background)


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
    winners = scores.max(0).indices  # on a CPU twice as fast as argmax
    area = winners.flatten().bincount(minlength=len(scores))
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
    class_ids: Tensor,
    cfg: InferenceCfg,
) -> Tuple[Optional[Tensor], Tensor]:
    """Turn a query map into class scores and classes, piece by piece.

    :func:`query_scores`, maximum over the queries of a class, constant background, area rule,
    argmax, threshold; float32 throughout. Beside the result only one piece is held, unless the area
    rule needs all scores.

    Args:
        tiles: Rows, columns and values ``[h, w, Q]`` of pieces that cover the map.
        size: Height and width of the map.
        class_ids: The class of each query, int64 ``[Q]``, see :func:`class_scores`.
        cfg: The rules, and by ``seg_logits`` whether to return the scores.

    Returns:
        Class scores, float32 ``[K, H, W]``, or None; and classes, int64 ``[H, W]``.
    """
    ids = class_ids.tolist()
    num_classes = max(ids) + 1 + (cfg.background is not None)
    classes = torch.empty(size, dtype=torch.int64, device=class_ids.device)
    scores = None
    if cfg.seg_logits or cfg.area_thd is not None:
        scores = torch.empty(num_classes, *size, device=class_ids.device)
    for rows, columns, query_map in tiles:
        query_map = query_map.float()
        if scores is None:
            classes[rows, columns] = _decide_at_once(query_map, class_ids, cfg)
            continue
        scores[:, rows, columns] = tile = tile_scores(query_map, ids, cfg)
        if cfg.area_thd is None:
            classes[rows, columns] = decide(tile, cfg.prob_thd)
    if cfg.area_thd is not None:
        classes = decide(scores, cfg.prob_thd, cfg.area_thd)
    return scores if cfg.seg_logits else None, classes


def tile_scores(query_map: Tensor, ids: Sequence[int], cfg: InferenceCfg) -> Tensor:
    """Class scores ``[K, h, w]`` of a map ``[h, w, Q]``, float32, a constant background first.

    Args:
        query_map: float32.
        ids: The class of each query, see :func:`class_scores`.
        cfg: The rules.
    """
    queries = query_scores(query_map, cfg).permute(2, 0, 1).contiguous()
    return add_background(class_scores(queries, ids), cfg.background)


def _decide_at_once(query_map: Tensor, class_ids: Tensor, cfg: InferenceCfg) -> Tensor:
    """Classes ``[h, w]`` of a map ``[h, w, Q]``: the class of the best query."""
    best, classes = best_classes(query_map, class_ids, cfg)
    return classes.masked_fill_(best < cfg.prob_thd, 0) if cfg.prob_thd > 0 else classes


def best_classes(query_map: Tensor, class_ids: Tensor, cfg: InferenceCfg) -> Tuple[Tensor, Tensor]:
    """Find the best class before the threshold, without keeping scores.

    All activations grow with the map, so the largest value has the largest score.

    Args:
        query_map: ``[h, w, Q]``, float32.
        class_ids: The class of each query, int64 ``[Q]``.
        cfg: The rules; the area rule has no part in it.

    Returns:
        The score of the best query, float32, which with a softmax is right only where ``cfg`` has a
        threshold or a background that needs it; and its class or the background, int64. Both
        ``[h, w]``.
    """
    if cfg.activation == 'softmax' and (cfg.prob_thd > 0 or cfg.background is not None):
        best, query = best_queries(query_map, cfg.logit_scale)
    else:
        best, query = query_map.max(-1)
        best = best if cfg.activation == 'softmax' else query_scores(best, cfg)
    classes = class_ids[query]
    if cfg.background is not None:
        classes = (classes + 1).masked_fill_(best <= cfg.background, 0)
    return best, classes
