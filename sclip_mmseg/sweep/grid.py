"""The settings of the decision rule that a sweep evaluates."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from ..models.decision import DecisionRule
from ..models.test_cfg import read_test_cfg
from ..utils.errors import InputError


class Setting(NamedTuple):
    """Values of the swept keys of ``model.test_cfg``.

    Attributes:
        logit_scale, prob_thd, area_thd, background: See :func:`..models.decision.build_rule`.
    """

    logit_scale: float
    prob_thd: float
    area_thd: float | None
    background: float | None

    def rule(self, test_cfg: Mapping[str, Any]) -> DecisionRule:
        """Build the decision rule of a config's ``model.test_cfg`` with these values.

        Raises:
            InputError: If a value is out of range.
        """
        return read_test_cfg({**test_cfg, **self._asdict()}).rule

    def options(self, own: 'Setting') -> str:
        """Format the values that differ from another setting, as ``--cfg-options``."""
        chosen = {key: value for key, value in self._asdict().items() if value != getattr(own, key)}
        return ' '.join(f'model.test_cfg.{name}={value}' for name, value in chosen.items())


def setting_of(test_cfg: Mapping[str, Any]) -> Setting:
    """The setting of a config's ``model.test_cfg``."""
    defaults = dict(logit_scale=40.0, prob_thd=0.0)
    given = {**defaults, **test_cfg}
    return Setting._make(_number(given.get(name)) for name in Setting._fields)


def make_grid(
    test_cfg: Mapping[str, Any], values: Mapping[str, Sequence[float | None] | None]
) -> list[Setting]:
    """List all combinations of values, and the config's own setting.

    Args:
        test_cfg: The config's ``model.test_cfg``, whose value is used for keys without values.
        values: Name of a field of :class:`Setting` → values.

    Returns:
        Settings without duplicates, in ascending order, None before numbers.

    Raises:
        InputError: If a value is out of range.
    """
    own = setting_of(test_cfg)
    axes = [map(_number, values.get(name) or [getattr(own, name)]) for name in Setting._fields]
    settings = {own, *map(Setting._make, product(*axes))}
    for setting in settings:
        setting.rule(test_cfg)
    return sorted(settings, key=ascending)


def ascending(values: Sequence[float | None]) -> list[tuple[bool, float]]:
    """Key that sorts settings in ascending order, None before numbers."""
    return [(value is not None, value or 0.0) for value in values]


def check_values(
    test_cfg: Mapping[str, Any],
    values: Mapping[str, Sequence[float | None] | None],
    classes: Sequence[str],
) -> None:
    """Check that the decision rule uses the swept values.

    Args:
        test_cfg: The config's ``model.test_cfg``.
        values: See :func:`make_grid`.
        classes: Names of the dataset's classes.

    Raises:
        InputError: If it does not.
    """
    if values.get('logit_scale') and test_cfg.get('activation', 'softmax') is None:
        raise InputError(
            '--logit-scale has no effect on this config: its maps are scores already '
            '(model.test_cfg.activation=None), so leave it out'
        )
    if values.get('background') and test_cfg.get('background') is None:
        raise InputError(
            '--background has no effect on this config: it has no background of constant score '
            '(model.test_cfg.background=None), so leave it out'
        )
    for name in ('prob_thd', 'area_thd'):
        # None and a threshold of 0 disable the rule.
        used = [v for v in values.get(name) or () if v is not None and (v or name == 'area_thd')]
        stated = name == 'prob_thd' and test_cfg.get('bg_idx') is not None
        if used and classes[0] != 'background' and not stated:
            raise InputError(
                f'--{name.replace("_", "-")} {used[0]:g} needs a background, but class 0 of the '
                f"dataset is '{classes[0]}': leave it out"
            )


def scale_matters(settings: Sequence[Setting]) -> bool:
    """Whether ``logit_scale`` can change a class; without thresholds, the best query stays best."""
    return any(
        s.prob_thd > 0 or s.area_thd is not None or s.background is not None for s in settings
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
