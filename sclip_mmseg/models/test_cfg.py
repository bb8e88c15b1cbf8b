"""Reads and checks the segmentor's ``test_cfg``."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from ..utils.errors import InputError, nearest
from .decision import DecisionRule, build_rule, decision_keys
from .window_cfg import WindowCfg


class SegmentationCfg(NamedTuple):
    """The values of ``model.test_cfg``.

    Attributes:
        windows: How windows are cut.
        rule: How query maps become classes.
        seg_logits: Whether samples also get their class scores, as mmseg's do. ``tools/test.py``
            turns them off where nothing reads them: a map of 1000 classes and 8 megapixels takes
            32 GB.
    """

    windows: WindowCfg
    rule: DecisionRule
    seg_logits: bool


def read_test_cfg(test_cfg: Mapping[str, Any] | None) -> SegmentationCfg:
    """Read a config's ``model.test_cfg``.

    Args:
        test_cfg: The fields of :class:`.window_cfg.WindowCfg`, the keys of
            :func:`.decision.build_rule`, and ``seg_logits``.

    Raises:
        InputError: If a key is unknown or a value is out of its range.
    """
    rest = dict(test_cfg or {})
    of_windows = [field.name for field in fields(WindowCfg)]
    known = [*of_windows, *decision_keys(), 'seg_logits']
    for key in rest:
        if key not in known:
            guess = nearest(key, known) or f': use {", ".join(known)}'
            raise InputError(f"model.test_cfg has no '{key}'{guess}")
    windows = WindowCfg(**{key: rest.pop(key) for key in of_windows if key in rest})
    seg_logits = rest.pop('seg_logits', True)
    if not isinstance(seg_logits, bool):
        raise InputError(f'test_cfg.seg_logits={seg_logits!r} must be True or False')
    return SegmentationCfg(windows, build_rule(rest), seg_logits)
