"""Builds a decision rule from the keys of ``model.test_cfg``."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ...registry import DECISIONS
from ...utils.errors import InputError
from .rule import DecisionRule
from .step import DecisionStep


def build_rule(test_cfg: Mapping[str, Any]) -> DecisionRule:
    """Build the decision rule of a config.

    Args:
        test_cfg: The decision keys of ``model.test_cfg``. ``activation`` names the rule that
            computes scores (default ``'softmax'``; None if maps already hold scores); the rule's
            fields and the steps are further keys. A step whose key is None or absent is left out,
            and so is a threshold of 0.

    Raises:
        InputError: If a key is unknown or has no effect, or a value is out of range.
    """
    rest = dict(test_cfg)
    rules, steps = _rules(), _steps()
    name = rest.pop('activation', 'softmax')
    kind = rules.get('none' if name is None else name) if name != 'none' else None
    if kind is None:
        known = ', '.join(repr(key) for key in sorted(rules) if key != 'none')
        raise InputError(f'test_cfg.activation={name!r} must be {known} or None')
    values = {key: rest.pop(key) for key in _keys(kind) if key in rest}
    added = {key: rest.pop(key) for key in steps if key in rest}
    more = {key: _further(kind, rest) for key, kind in steps.items()}
    for key, value in rest.items():
        defaults = [d for other in rules.values() for k, d in _keys(other).items() if k == key]
        if not defaults:
            raise InputError(f"test_cfg has no key '{key}': use {', '.join(decision_keys())}")
        if value not in defaults and key != 'logit_scale':
            raise InputError(f'test_cfg.{key}={value!r} has no effect with activation={name!r}')
    rule = kind(**values)
    for key in sorted(steps, key=lambda key: steps[key].order):
        value = added.get(key)
        if value is None and not (key == 'prob_thd' and key in added):
            continue
        make: Callable[..., DecisionStep] = steps[key]  # a subclass has a second field
        step = make(rule, value, **more[key])
        rule = step if value or key != 'prob_thd' else rule
    return rule


def decision_keys() -> list[str]:
    """Return the keys of ``model.test_cfg`` that some rule or step has."""
    names = [key for kind in _rules().values() for key in _keys(kind)]
    further = [field.name for kind in _steps().values() for field in fields(kind)[2:]]
    return ['activation', *dict.fromkeys(names), *_steps(), *further]


def _rules() -> dict[str, type[DecisionRule]]:
    kinds = DECISIONS.module_dict
    return {key: kind for key, kind in kinds.items() if not issubclass(kind, DecisionStep)}


def _steps() -> dict[str, type[DecisionStep]]:
    return {k: kind for k, kind in DECISIONS.module_dict.items() if issubclass(kind, DecisionStep)}


def _further(kind: type[DecisionStep], rest: dict[str, Any]) -> dict[str, Any]:
    """Take the values of a step's further fields from the other keys."""
    return {field.name: rest.pop(field.name) for field in fields(kind)[2:] if field.name in rest}


def _keys(kind: type[DecisionRule]) -> dict[str, Any]:
    """Return fields and their defaults."""
    return {field.name: field.default for field in fields(kind)}
