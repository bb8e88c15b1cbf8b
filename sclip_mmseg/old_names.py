"""Names of earlier versions. They keep working, with a warning that gives the present name."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .utils.errors import InputError

#: Old module → present module, below the package.
MODULES = {'models.picture': 'models.windowed_image'}


def keep_old_names(module: str, **names: str) -> None:
    """Let old names be imported from a module.

    Args:
        module: The module's ``__name__``.
        names: Present name by old name.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f'module {module!r} has no attribute {name!r}')
        _warn(f'{module}.{name}', names[name])
        return getattr(sys.modules[module], names[name])

    # Not a `def __getattr__` in the module itself, after which type checkers accept any name.
    vars(sys.modules[module])['__getattr__'] = get


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
        _warn(self.old, self.name)
        return getattr(owner if instance is None else instance, self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        _warn(self.old, self.name)
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


def _warn(old: str, new: str) -> None:
    warnings.warn(f'{old} is now called {new}', FutureWarning, stacklevel=3)


class _OldModules(MetaPathFinder):
    """Finds modules by their old names."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find a module of :data:`MODULES`; None for all others."""
        package, _, old = name.partition('.')
        if package != __package__ or old not in MODULES:
            return None
        return ModuleSpec(name, _OldModule(f'{package}.{MODULES[old]}'))


class _OldModule(Loader):
    """Loads an old module, whose names are those of the present one."""

    def __init__(self, name: str):
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        """Give the module the present one's names, old ones included."""
        present = import_module(self.name)
        _warn(module.__name__, self.name)
        public: Sequence[str] = [name for name in vars(present) if not name.startswith('_')]
        vars(module).update({name: getattr(present, name) for name in public})
        vars(module)['__getattr__'] = lambda name: getattr(present, name)


sys.meta_path.append(_OldModules())
