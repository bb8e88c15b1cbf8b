"""Lazy registration of the package's classes in mmseg's registries.

Registries can only be used after mmengine is imported. If it already is, as in all OpenMMLab
programs and in configs with ``custom_imports=['sclip_mmseg']``, importing this package registers
its classes immediately. Otherwise the next import of mmengine, mmcv, mmseg, or a module of this
package that may import these does so. ``sclip --help`` imports none of them.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = __package__
#: Modules of this package that import neither OpenMMLab's packages nor PyTorch.
LIGHT = frozenset(
    f'{_PACKAGE}.{name}'
    for name in (
        'benchmark',
        'benchmark.worker',
        'cli',
        'datasets',
        'datasets.benchmarks',
        'old_names',
        'registration',
        'utils',
        'utils.compat',
        'utils.errors',
        'utils.interrupt',
        'utils.pipes',
        'utils.processes',
        'utils.program',
        'utils.shipped',
        'version',
        'zoo',
    )
)
# Modules whose import registers classes.
_REGISTERING = (
    *('datasets.coco_object', 'datasets.folder', 'datasets.remote_sensing', 'datasets.voc20'),
    *('engine', 'evaluation', 'models', 'regions', 'visualization'),
)


def register_once_needed() -> None:
    """Register now if mmengine is imported, otherwise when it is first imported."""
    if 'mmengine' in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _RegisterAfterImport())


def register() -> None:
    """Apply the compatibility fixes, then import all modules that register classes.

    Raises:
        ImportError: If OpenCV or mmcv is missing or incompatible; it says what to install.
    """
    from .utils import compat

    _prepare(of_mmcv=True)
    compat.restore_package_lookup()
    compat.register_config_scope()
    for name in _REGISTERING:
        import_module(f'.{name}', _PACKAGE)


def _prepare(of_mmcv: bool) -> None:
    """Apply the fixes that mmengine needs and, with ``of_mmcv``, those of mmcv (imports it)."""
    from .utils import compat

    compat.check_opencv()
    compat.restore_find_loader()
    if of_mmcv:
        compat.check_mmcv()
        compat.provide_mmcv_ext()


class _RegisterAfterImport(MetaPathFinder):
    """Registers after the first import of a module that could use a registry."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find such a module by the other finders; None for all other modules."""
        root = name.partition('.')[0]
        is_light = name in LIGHT or name.startswith(f'{_PACKAGE}.cli.')
        if root not in (_PACKAGE, 'mmengine', 'mmcv', 'mmseg') or is_light:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            self._register_after(spec.loader, root)
        return spec

    def _register_after(self, loader: Loader, root: str) -> None:
        execute = loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            first = self in sys.meta_path
            if first:  # nested imports are part of this one
                sys.meta_path.remove(self)
                _prepare(of_mmcv=root in (_PACKAGE, 'mmseg'))
            execute(module)
            if first:
                register()

        loader.exec_module = execute_and_register  # type: ignore[method-assign]
