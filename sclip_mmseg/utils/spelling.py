"""Detection of misspelt names in a config, with a suggestion."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .. import registry as own_registries
from ..old_names import KEYS, TYPES
from .errors import InputError, nearest

# Sections that a runner reads and builds.
_SECTIONS = (
    *('model', 'tta_model', 'tta_pipeline', 'test_dataloader', 'test_evaluator', 'test_cfg'),
    *('default_hooks', 'custom_hooks', 'visualizer', 'model_wrapper_cfg', 'log_processor'),
)
# Keys that a runner reads besides those of DataLoader; env_cfg and default_hooks may have others.
_LOADER_KEYS = ('num_batch_per_epoch', 'disable_subprocess_warning')
_ENV_KEYS = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
_HOOK_KEYS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    'visualization',
)


def check_config(cfg: Config, plain: Mapping[str, Callable]) -> None:
    """Check the keys and types of all objects that a test run builds from a config.

    Top-level keys may be variables of the config, so they are refused only if they resemble a key
    that has an effect. Nothing is built.

    Args:
        cfg: The config.
        plain: Dotted key of a dict without ``type`` → class whose arguments are its keys.

    Raises:
        InputError: If a key is unknown or missing, or a ``type`` is not registered.
    """
    top = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    top |= {*_SECTIONS, 'custom_imports'}
    for key in cfg:
        if key not in top and (guess := nearest(key, top, cutoff=0.9)):
            raise InputError(f"the config's key '{key}' has no effect{guess}")
    for key in ('model', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        if key not in cfg:
            others = ', '.join(sorted(set(cfg) - top))
            raise InputError(f"the config has no '{key}', only keys without effect: {others}")
    scope = cfg.get('default_scope', 'mmengine')
    for key in _SECTIONS:
        if key in cfg:
            _check(cfg[key], key, scope)
    loader = [*inspect.signature(DataLoader).parameters, *_LOADER_KEYS]
    _check_names(cfg.get('test_dataloader', {}), 'test_dataloader', 'the data loader', loader)
    _check_names(cfg.get('env_cfg', {}), 'env_cfg', 'the runner', _ENV_KEYS, complete=False)
    _check_names(cfg.get('default_hooks', {}), 'default_hooks', 'the runner', _HOOK_KEYS, False)
    for key, builder in plain.items():
        value = cfg.get(key.split('.')[0])
        for part in key.split('.')[1:]:
            value = (value or {}).get(part)
        _check_names(value or {}, key, builder.__name__, arguments(builder)[0])


@cache
def arguments(builder: Callable) -> tuple[list[str], bool]:
    """Names of the arguments of a class or function.

    Returns:
        The names, including those of base classes if the class passes ``**kwargs`` to them; and
        whether they are complete, which is not the case if ``**kwargs`` is used otherwise.
    """
    names: list[str] = []
    for function in _constructors(builder):
        parameters = list(inspect.signature(function).parameters.values())
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return [name for name in names if name != 'self'], True
    return [name for name in names if name != 'self'], False


def _constructors(builder: Callable) -> list[Callable]:
    if not inspect.isclass(builder):
        return [builder]
    own = [vars(base)['__init__'] for base in builder.__mro__[:-1] if '__init__' in vars(base)]
    return own or [lambda: None]  # object's


def _check(value: Any, key: str, scope: str) -> None:
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f'{key}.{index}', scope)
    if not isinstance(value, dict):
        return
    if 'type' in value:
        builder = value['type']
        if isinstance(builder, str):
            builder = _find(builder, f'{key}.type', scope)
        names, complete = arguments(builder)
        _check_names(value, key, builder.__name__, names, complete)
    else:
        words = [name for name, item in value.items() if isinstance(item, str)]
        if meant := difflib.get_close_matches('type', words, cutoff=0.7):
            raise InputError(f"{key}.{meant[0]}: did you mean 'type'?")
    for child, item in value.items():
        # Builders of `norm_cfg`, `init_cfg` etc. may remove or add arguments.
        if not child.endswith('_cfg'):
            _check(item, f'{key}.{child}', scope)


def _find(name: str, key: str, scope: str) -> Callable:
    """Look up a name in mmengine's registries and this package's own."""
    roots = (*vars(mmengine.registry).values(), *vars(own_registries).values())
    pairs = [(each.children.get(scope, each), each) for each in roots if isinstance(each, Registry)]
    for registry, root in pairs:  # first without `get`, which imports modules for unknown names
        if builder := registry.module_dict.get(name) or root.module_dict.get(name):
            return builder
    known: list[str] = []
    for registry, root in pairs:
        with suppress(RuntimeError):  # for a dotted name without such a module
            if (builder := registry.get(name)) is not None:
                return builder
        known += [*registry.module_dict, *root.module_dict]
    if name in TYPES:
        raise InputError(f"{key}='{name}' was removed: {TYPES[name]}")
    guess = nearest(name, known, cutoff=0.7) or ': is its module missing from custom_imports?'
    raise InputError(f"{key}='{name}' is not registered{guess}")


def _check_names(
    value: Mapping, key: str, owner: str, known: Iterable[str], complete: bool = True
) -> None:
    known = [*known, 'type']
    for name in value:
        if name in known or name.startswith('_'):
            continue
        if instead := KEYS.get(owner, {}).get(name):
            raise InputError(f"{key}.{name}: {owner} has no '{name}': {instead}")
        guess = nearest(name, known, cutoff=0.6 if complete else 0.8)
        if complete or guess:
            guess = guess or f': it takes {", ".join(known)}'
            raise InputError(f"{key}.{name}: {owner} has no '{name}'{guess}")
