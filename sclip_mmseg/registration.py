"""Registers what the package has: not before it is needed, and always before it is asked for.

Whoever asks a registry has imported mmengine. So where mmengine is imported already, as by all
programs of OpenMMLab and where a config has ``custom_imports=['sclip_mmseg']``, importing this
package registers at once. Otherwise it is done by the next import of mmengine, mmcv, mmseg, or a
module of this package that may import these. ``sclip --help`` imports none of them.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = __package__
#: Modules of this package that import nothing of OpenMMLab, nor PyTorch.
LIGHT = frozenset(
    f'{_PACKAGE}.{name}'
    for name in (
        'benchmark',
        'benchmark.worker',
        'cli',
        'datasets',
        'datasets.benchmarks',
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
# Whose import registers.
_REGISTERING = (
    *('datasets.coco_object', 'datasets.folder', 'datasets.remote_sensing', 'datasets.voc20'),
    *('engine', 'evaluation', 'models', 'regions', 'visualization'),
)


def register_once_needed() -> None:
    """Register now if mmengine is imported, else before anything can ask for it."""
    if 'mmengine' in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _RegisterAfterImport())


def register() -> None:
    """Import whatever registers itself, after mending what that needs.

    Raises:
        ImportError: If OpenCV or mmcv is missing or unfit; it says what to install.
    """
    from .utils import compat

    _prepare(of_mmcv=True)
    compat.restore_package_lookup()
    compat.register_config_scope()
    for name in _REGISTERING:
        import_module(f'.{name}', _PACKAGE)


def _prepare(of_mmcv: bool) -> None:
    """Mend what mmengine needs; and what of mmcv mmseg and this package need, which imports it."""
    from .utils import compat

    compat.check_opencv()
    compat.restore_find_loader()
    if of_mmcv:
        compat.check_mmcv()
        compat.provide_mmcv_ext()


class _RegisterAfterImport(MetaPathFinder):
    """Lets the first import of a module that could ask a registry end by registering."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find such a module as the other finders do; None for all others."""
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
            if first:  # what it imports in turn is part of it
                sys.meta_path.remove(self)
                _prepare(of_mmcv=root in (_PACKAGE, 'mmseg'))
            execute(module)
            if first:
                register()

        loader.exec_module = execute_and_register  # type: ignore[method-assign]
