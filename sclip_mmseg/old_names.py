"""Names of earlier versions. They keep working, with a warning that gives the present name.

Names without a successor are refused, with advice. In all tables and arguments here, a value with
a space is such advice, any other value is the present name.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

from .utils.errors import InputError

_Function = TypeVar('_Function', bound=Callable)

#: Old module → present module, below the package, or what to do instead.
MODULES = {
    'apis.drawing': 'visualization.drawing',
    'apis.results': 'benchmark.results',
    'benchmark.child': 'sclip_mmseg.evaluation.evaluate runs an evaluation',
    'benchmark.evaluation': 'sclip_mmseg.evaluation.evaluate runs an evaluation',
    'benchmark.machine': 'evaluation.machine',
    'compat': 'utils.compat',
    'datasets.inspection': 'datasets.preparation.inspection',
    'datasets.raw': 'datasets.preparation.raw',
    'engine.checkpoint_hook': 'a config or a program names the checkpoint, without a hook',
    'engine.partial_results': 'sclip_mmseg.evaluation.Result holds what an evaluation found',
    'engine.reporting_iou_metric': 'use sclip_mmseg.evaluation.ConfusionMetric',
    'engine.resumable_test_loop': 'evaluation.resumable_test_loop',
    'engine.settings': 'evaluation.fingerprint',
    'errors': 'utils.errors',
    'evaluation.pictures': 'evaluation.result_images',
    'models.download': 'utils.download',
    'models.inference_cfg': 'WindowCfg and DecisionRule of sclip_mmseg.models replace InferenceCfg',
    'models.picture': 'models.windowed_image',
    'models.proxy': 'towers.proxy',
    'models.region_generators': 'regions',
    'models.region_generators.base': 'regions.base',
    'models.region_generators.felzenszwalb': 'regions.felzenszwalb',
    'models.region_generators.sam': 'regions.sam',
    'models.regions': 'regions.maps',
    'models.resclip': 'models.methods.resclip',
    'models.sliding_window': 'models.fusion',
    'models.towers': 'towers',
    'models.towers.checkpoint': 'towers.checkpoint',
    'models.towers.layouts': 'towers.layouts',
    'models.towers.tensor_pickle': 'towers.tensor_pickle',
    'models.towers.text': 'towers.text',
    'models.towers.vit': 'towers.vit',
    'models.variants': 'models.decision.rule',
    'models.watching': 'models.progress',
    'sweep.results': 'sweep.report',
    'towers.stated': 'towers.spec',
}
#: Removed type of a config → what to write instead.
TYPES = {'ReportingIoUMetric': 'use ConfusionMetric'}
#: Type of a config → removed key → what to write instead.
KEYS = {
    'CLIPImageEncoder': {
        'attention': "write method=dict(type='SCLIP') instead of attention=dict(type='CSA'), and "
        "method=dict(type='NAME') instead of other attention=dict(type='NAMEAttention')"
    }
}
#: Pattern of a removed config's path → replacement, and what must be added to it.
CONFIGS = {
    r'_vit-l14_(?=[\w-]+\.py$)': ('_vit-b16_', ' ViT-L/14'),
    r'(protocols/)(re)?sclip_(?=(ade20k|cityscapes|context59)\.py$)': (r'\1', ''),
}
#: Module → present name by old name, as :func:`keep_old_names` got them.
KEPT: dict[str, dict[str, str]] = {}


def keep_old_names(module: str, **names: str) -> None:
    """Let old names be imported from a module.

    Args:
        module: The module's ``__name__``. Its own ``__getattr__``, if any, gets all other names.
        names: Old name → present name: in the module, or with its module, below the package; or
            what to do instead, which an ``ImportError`` says.
    """
    members = vars(sys.modules[module])
    get_other = members.get('__getattr__', _unknown(module))
    KEPT.setdefault(module, {}).update(names)

    def get(name: str) -> Any:
        if name not in names:
            return get_other(name)
        new = names[name]
        if ' ' in new:
            raise ImportError(f'{module}.{name} was removed: {new}')
        warn_of(f'{module}.{name}', f'{__package__}.{new}' if '.' in new else new)
        below, _, new = new.rpartition('.')
        return getattr(
            import_module(f'{__package__}.{below}') if below else sys.modules[module], new
        )

    # Not a `def __getattr__` in the module itself, after which type checkers accept any name.
    members['__getattr__'] = get


def _unknown(module: str) -> Callable[[str], Any]:
    def refuse(name: str) -> Any:
        raise AttributeError(f'module {module!r} has no attribute {name!r}')

    return refuse


def old_arguments(**names: str) -> Callable[[_Function], _Function]:
    """Let a function take keyword arguments by their old names, too.

    Args:
        names: Old name → present name, or what to do instead, which a ``TypeError`` says.

    Returns:
        A decorator.
    """

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                new, owner = names[old], function.__qualname__.removesuffix('.__init__')
                if ' ' in new:
                    raise TypeError(f"{owner} takes no '{old}': {new}")
                warn_of(f"{owner}'s argument {old}", new)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


class OldAttribute:
    """The old name of an attribute or method, to be assigned in the class body.

    Args:
        name: The present name.
    """

    def __init__(self, name: str):
        self.name = name

    def __set_name__(self, owner: type, old: str) -> None:
        self.old = f'{owner.__name__}.{old}'

    def __get__(self, instance: Any, owner: type) -> Any:
        warn_of(self.old, self.name)
        return getattr(owner if instance is None else instance, self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        warn_of(self.old, self.name)
        setattr(instance, self.name, value)


class RefusesOldOverrides:
    """A base class whose subclasses must not override an attribute by its old name.

    The old name is an :class:`OldAttribute` of the class.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for old in vars(cls):
            found = next((vars(base)[old] for base in cls.__mro__[1:] if old in vars(base)), None)
            if isinstance(found, OldAttribute):
                raise InputError(
                    f'{cls.__module__}.{cls.__qualname__} overrides {old}, which is now called '
                    f'{found.name}: rename it'
                )


def warn_of(old: str, new: str) -> None:
    """Warn whoever calls the caller of this function that a name is old."""
    warnings.warn(f'{old} is now called {new}', FutureWarning, stacklevel=3)


class _OldModules(MetaPathFinder):
    """Finds modules by their old names."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find a module of :data:`MODULES`; None for all others."""
        package, _, old = name.partition('.')
        if package != __package__ or old not in MODULES:
            return None
        if ' ' in MODULES[old]:
            raise ImportError(f'{name} was removed: {MODULES[old]}')
        # As a package: modules below it may be of the table, too.
        return ModuleSpec(name, _OldModule(f'{package}.{MODULES[old]}'), is_package=True)


class _OldModule(Loader):
    """Loads an old module, whose names are those of the present one."""

    def __init__(self, name: str):
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        """Give the module the present one's names, old ones included."""
        present = import_module(self.name)
        warn_of(module.__name__, self.name)
        public: Sequence[str] = [name for name in vars(present) if not name.startswith('_')]
        vars(module).update({name: getattr(present, name) for name in public})
        vars(module)['__getattr__'] = lambda name: getattr(present, name)


sys.meta_path.append(_OldModules())
