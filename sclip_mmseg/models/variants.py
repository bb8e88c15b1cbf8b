"""One map decided by many rules."""

from collections import defaultdict
from dataclasses import replace
from typing import Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

import torch
from torch import Tensor

from .decision import apply_area_rule, best_classes, tile_scores
from .fusion import Tile
from .inference_cfg import InferenceCfg
from .windows import Size


def segment_variants(
    tiles: Callable[[], Iterable[Tile]],
    size: Size,
    class_ids: Tensor,
    cfgs: Sequence[InferenceCfg],
) -> Iterator[Tuple[InferenceCfg, Tensor]]:
    """Give the classes of :func:`.decision.segment` for several rules.

    Rules that differ in thresholds alone share their scores. The scores of one ``logit_scale`` and
    ``background`` are held at a time, as ``segment`` holds them.

    Args:
        tiles: Gives the pieces of the map, as often as it is called.
        size: Height and width of the map.
        class_ids: The class of each query, int64 ``[Q]``.
        cfgs: Rules; ``seg_logits`` has no effect.

    Yields:
        Each of the rules, in any order, and the classes by them, int64 ``[H, W]``.
    """
    groups: Dict[tuple, List[InferenceCfg]] = defaultdict(list)
    for cfg in cfgs:
        scores = replace(cfg, prob_thd=0.0, area_thd=None)
        groups[scores, cfg.area_thd is not None].append(cfg)
    for (_, with_area), group in groups.items():
        decide_group = _by_area if with_area else _by_best
        yield from decide_group(tiles(), size, class_ids, group)


def _by_best(
    tiles: Iterable[Tile], size: Size, class_ids: Tensor, group: List[InferenceCfg]
) -> Iterator[Tuple[InferenceCfg, Tensor]]:
    """Rules without an area rule: the best class of each pixel and its score suffice."""
    strictest = max(group, key=lambda cfg: cfg.prob_thd)  # has scores wherever one needs them
    best = torch.empty(size, device=class_ids.device)
    classes = torch.empty(size, dtype=torch.int64, device=class_ids.device)
    for rows, columns, query_map in tiles:
        best[rows, columns], classes[rows, columns] = best_classes(
            query_map.float(), class_ids, strictest
        )
    for cfg in group:
        yield cfg, classes.masked_fill((best < cfg.prob_thd) & (cfg.prob_thd > 0), 0)


def _by_area(
    tiles: Iterable[Tile], size: Size, class_ids: Tensor, group: List[InferenceCfg]
) -> Iterator[Tuple[InferenceCfg, Tensor]]:
    """Rules with an area rule, which needs all scores of all pixels."""
    ids = class_ids.tolist()
    num_classes = max(ids) + 1 + (group[0].background is not None)
    scores = torch.empty(num_classes, *size, device=class_ids.device)
    for rows, columns, query_map in tiles:
        scores[:, rows, columns] = tile_scores(query_map.float(), ids, group[0])
    for area_thd in dict.fromkeys(cfg.area_thd for cfg in group):
        best, classes = apply_area_rule(scores.clone(), area_thd).max(0)
        for cfg in group:
            if cfg.area_thd == area_thd:
                yield cfg, classes.masked_fill(best < cfg.prob_thd, 0)
