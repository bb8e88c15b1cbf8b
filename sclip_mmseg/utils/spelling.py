"""A misspelt name in a config is answered with the nearest valid one."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..registry import METHODS, POSTPROCESSORS, REFINERS, REGION_GENERATORS
from .errors import InputError, nearest

# What a runner reads, and the registry of the typed dicts below it; None where there are none.
_SECTIONS = {
    'model': mmengine.registry.MODELS,
    'tta_model': mmengine.registry.MODELS,
    'tta_pipeline': mmengine.registry.TRANSFORMS,
    'test_dataloader': None,
    'test_evaluator': mmengine.registry.METRICS,
    'test_cfg': mmengine.registry.LOOPS,
    'default_hooks': mmengine.registry.HOOKS,
    'custom_hooks': mmengine.registry.HOOKS,
    'visualizer': mmengine.registry.VISUALIZERS,
    'model_wrapper_cfg': mmengine.registry.MODEL_WRAPPERS,
    'log_processor': mmengine.registry.LOG_PROCESSORS,
}
# Keys whose dicts are of another registry than the dict around them.
_CHILDREN = {
    'dataset': mmengine.registry.DATASETS,
    'pipeline': mmengine.registry.TRANSFORMS,
    'sampler': mmengine.registry.DATA_SAMPLERS,
    'batch_sampler': mmengine.registry.DATA_SAMPLERS,
    'metrics': mmengine.registry.METRICS,
    'vis_backends': mmengine.registry.VISBACKENDS,
    'method': METHODS,
    'base': METHODS,
    'refine': REFINERS,
    'postprocess': POSTPROCESSORS,
    'region_masks': REGION_GENERATORS,
}
# Names that a runner reads, besides those of DataLoader; of the last two it allows others too.
_LOADER_KEYS = ('num_batch_per_epoch', 'disable_subprocess_warning')
_ENV_KEYS = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
_HOOK_KEYS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    'visualization',
)


def check_config(
    cfg: Config,
    plain: Mapping[str, Callable] | None = None,
    needed: Sequence[str] = ('model', 'test_dataloader', 'test_evaluator', 'test_cfg'),
) -> None:
    """Look for misspelt keys and types in all that a test run builds from a config.

    Keys at the top, where a config may keep variables of its own, are refused only where they look
    like one that has an effect. Nothing is built.

    Args:
        cfg: The config.
        plain: Dotted key of a dict without ``type`` → the class that takes its keys as arguments.
        needed: Keys that must be there.

    Raises:
        InputError: If a key is unknown or missing, or a ``type`` is not registered.
    """
    top = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    top |= {*_SECTIONS, 'custom_imports'}
    for key in cfg:
        guess = nearest(key, top, cutoff=0.9)
        if key not in top and guess:
            raise InputError(f"the config's key '{key}' has no effect{guess}")
    for key in needed:
        if key not in cfg:
            others = ', '.join(sorted(set(cfg) - top))
            raise InputError(f"the config has no '{key}', only keys without effect: {others}")
    scope = cfg.get('default_scope', 'mmengine')
    for key, registry in _SECTIONS.items():
        if key in cfg:
            _check(cfg[key], key, registry, scope)
    loader = [*inspect.signature(DataLoader).parameters, *_LOADER_KEYS]
    _check_names(cfg.get('test_dataloader', {}), 'test_dataloader', 'the data loader', loader)
    _check_names(cfg.get('env_cfg', {}), 'env_cfg', 'the runner', _ENV_KEYS, complete=False)
    _check_names(cfg.get('default_hooks', {}), 'default_hooks', 'the runner', _HOOK_KEYS, False)
    for key, builder in (plain or {}).items():
        value = cfg.get(key.split('.')[0])
        for part in key.split('.')[1:]:
            value = (value or {}).get(part)
        _check_names(value or {}, key, builder.__name__, arguments(builder)[0])


def arguments(builder: Callable) -> tuple[list[str], bool]:
    """Names of a class's or function's arguments.

    Returns:
        The names, those of base classes included where the class passes ``**kwargs`` on; and
        whether these are all, which they are not where ``**kwargs`` goes elsewhere.
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


def _check(value: Any, key: str, registry: Registry | None, scope: str) -> None:
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f'{key}.{index}', registry, scope)
    if not isinstance(value, dict):
        return
    if registry is not None and 'type' in value:
        builder = _find(value['type'], key, registry, scope)
        names, complete = arguments(builder)
        _check_names(value, key, builder.__name__, names, complete)
    elif registry is not None:
        words = [name for name, item in value.items() if isinstance(item, str)]
        if meant := difflib.get_close_matches('type', words, cutoff=0.7):
            raise InputError(f"{key}.{meant[0]}: did you mean 'type'?")
    for child, item in value.items():
        # Whoever builds `norm_cfg`, `init_cfg` and the like may take or add arguments.
        inner = None if child.endswith('_cfg') else _CHILDREN.get(child, registry)
        _check(item, f'{key}.{child}', inner, scope)


def _find(kind: Any, key: str, registry: Registry, scope: str) -> Callable:
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as local:
        names = [*local.module_dict, *(local.parent or local).module_dict]
        # Parts of other kinds may be among a model's, and an evaluator in the place of metrics.
        others = [r for r in vars(mmengine.registry).values() if isinstance(r, Registry)]
        for candidate in (local, *(other.children.get(scope, other) for other in others)):
            try:
                builder = candidate.get(kind)
            except RuntimeError:  # a dotted name of nothing
                continue
            if builder is not None:
                return builder
    guess = nearest(kind, names, cutoff=0.7) or ': is its module missing from custom_imports?'
    raise InputError(f"{key}.type='{kind}' is not registered{guess}")


def _check_names(
    value: Mapping, key: str, owner: str, known: Iterable[str], complete: bool = True
) -> None:
    known = [*known, 'type']
    for name in value:
        if name in known or name.startswith('_'):
            continue
        guess = nearest(name, known, cutoff=0.6 if complete else 0.8)
        if complete or guess:
            guess = guess or f': it takes {", ".join(known)}'
            raise InputError(f"{key}.{name}: {owner} has no '{name}'{guess}")
