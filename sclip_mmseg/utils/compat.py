"""All workarounds for third-party packages.

* opencv-python, which mmengine and mmcv-lite require by name, needs libraries of a desktop system.
* mmengine and mmcv call ``pkgutil.find_loader``, which Python 3.14 removed.
* mmseg refuses some versions of mmcv with a message that does not say which one to install.
* mmseg imports ``mmcv.ops``, which needs an extension that mmcv-lite does not have.
* ``import clip`` needs ``pkg_resources`` and torchvision; its model and tokenizer do not.
* mmengine reads ``package::config`` only from a fixed list of packages, and locates packages with
  ``pkg_resources``, which setuptools 82 removed.
* Spawned workers, unlike forked ones, import mmseg's dataset before this package.
* mmengine and mmseg import modules that only training and other models need, which takes as long
  as importing PyTorch.
"""

import importlib.machinery
import importlib.util
import os.path as osp
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from importlib.abc import Loader
from importlib.metadata import distribution
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

MMCV = '2.0.0', '2.2.0'  # the range that mmseg 1.2 supports, end excluded


class _MissingExtension(ModuleType):
    """Stand-in for ``mmcv._ext``: every op exists and raises when it is called."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing_op(*args: Any, **kwargs: Any) -> NoReturn:
            raise ImportError(
                f"mmcv op '{name}' needs the compiled extension of full mmcv, which mmcv-lite does "
                'not have: pip uninstall mmcv-lite, then pip install "mmcv>=2.0.0,<2.2.0"'
            )

        return missing_op


class _StandIn(ModuleType):
    """Stand-in for a module that is not imported: each of its names is an empty class."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)

    def __getattr__(self, name: str) -> type:
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {'__module__': self.__name__})


#: Modules that mmengine and mmseg import but inference does not need: optimizers, sharded training,
#: matching of DETR's queries, a second CLIP tokenizer.
_TRAINING = (
    'transformers',
    'torch.distributed.optim',
    'torch.distributed.fsdp',
    'torch.distributed.fsdp.api',
    'torch.distributed.fsdp.fully_sharded_data_parallel',
    'scipy.optimize',
    'mmengine._strategy',
    'mmseg.utils.tokenizer',
)
#: mmseg's networks, and modules that they and the training transforms import.
_NETWORKS = (
    'scipy.ndimage',
    *('mmcv.ops', 'mmcv.ops.multi_scale_deform_attn'),
    *('mmseg.models.assigners', 'mmseg.models.backbones', 'mmseg.models.decode_heads'),
    *('mmseg.models.losses', 'mmseg.models.necks', 'mmseg.models.text_encoder'),
)


@contextmanager
def without_training(networks: bool = True) -> Iterator[None]:
    """Import mmengine and mmseg without modules that only training and other models need.

    For inference-only programs: optimizers and wrappers of sharded models are empty classes
    afterwards. The modules themselves can still be imported later. Does nothing if mmengine is
    already imported.

    Args:
        networks: Whether mmseg's own networks are imported and thereby registered.
    """
    names = () if 'mmengine' in sys.modules else _TRAINING + (() if networks else _NETWORKS)
    stand_ins = {name: _StandIn(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


def check_opencv() -> None:
    """Say what to install if OpenCV is missing or cannot be loaded.

    Raises:
        ImportError: If ``cv2`` cannot be imported.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'OpenCV cannot be imported ({error}): pip install --force-reinstall --no-deps '
            'opencv-python-headless, which needs no system libraries'
        ) from None


def restore_find_loader() -> None:
    """Restore ``pkgutil.find_loader`` if this Python version lacks it."""
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = _find_loader


def _find_loader(fullname: str) -> Loader | None:
    spec = importlib.util.find_spec(fullname)
    return spec.loader if spec else None


def check_mmcv() -> None:
    """Say what to install if mmcv is missing or has a version that mmseg does not support.

    Raises:
        ImportError: If neither mmcv nor mmcv-lite is installed in a supported version.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmcv is not installed: pip install mmcv-lite==2.1.0 (no compiler needed) or full mmcv'
        )
    import mmcv
    from mmengine.utils import digit_version

    first, end = map(digit_version, MMCV)
    if not first <= digit_version(mmcv.__version__) < end:
        raise ImportError(
            f'mmcv {mmcv.__version__} is installed, mmsegmentation 1.2 needs >={MMCV[0]},'
            f'<{MMCV[1]}: pip uninstall mmcv mmcv-lite, then pip install mmcv-lite==2.1.0 (no '
            'compiler needed) or full mmcv of such a version'
        )


def provide_mmcv_ext() -> None:
    """Make ``mmcv.ops`` importable if mmcv has no compiled extension."""
    if 'mmcv._ext' in sys.modules or importlib.util.find_spec('mmcv._ext') is not None:
        return
    extension = _MissingExtension('mmcv._ext')
    extension.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', loader=None)
    sys.modules['mmcv._ext'] = extension


@cache
def openai_clip(module: str) -> ModuleType:
    """Import one module of openai-clip without running the package's ``__init__``.

    Args:
        module: ``'model'`` or ``'simple_tokenizer'``.

    Raises:
        ImportError: If openai-clip is not installed.
    """
    package = importlib.util.find_spec('clip')
    folders = list(package.submodule_search_locations or ()) if package else []
    path = osp.join(folders[0], f'{module}.py') if folders else ''
    spec = None
    if osp.isfile(path):
        spec = importlib.util.spec_from_file_location(f'_openai_clip_{module}', path)
    if spec is None or spec.loader is None:
        raise ImportError(f'clip.{module} not found: pip install openai-clip==1.0.1')
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def register_config_scope() -> None:
    """Let mmengine read ``sclip_mmseg::sclip/NAME.py``: as a config, as a base, and from its hub.

    This replaces three functions of mmengine that only know a fixed list of packages with a folder
    ``.mim``, or no packages: ``Config._get_cfg_path``, which resolves entries of ``_base_`` and has
    no other hook, ``mmengine.hub.get_config`` and ``Config.fromfile``. Other names are passed on
    unchanged.
    """
    import mmengine.hub.hub
    from mmengine.config import Config

    from ..config import SCOPE, find_config, read_config

    get_cfg_path, get_config = Config._get_cfg_path, mmengine.hub.get_config
    from_file = Config.fromfile

    def get_cfg_path_here(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(SCOPE):
            return find_config(cfg_path), 'mmseg'  # the scope that our classes are registered in
        return get_cfg_path(cfg_path, filename)

    def get_config_here(cfg_path: str, pretrained: bool = False) -> Config:
        if cfg_path.startswith(SCOPE):
            return read_config(cfg_path)
        return get_config(cfg_path, pretrained)

    @wraps(from_file)
    def from_file_here(filename: str | Path, *args: object, **kwargs: object) -> Config:
        if str(filename).startswith(SCOPE):
            filename = find_config(str(filename))
        return from_file(filename, *args, **kwargs)

    Config._get_cfg_path = staticmethod(get_cfg_path_here)
    Config.fromfile = staticmethod(from_file_here)
    mmengine.hub.get_config = mmengine.hub.hub.get_config = get_config_here


def restore_package_lookup() -> None:
    """Let mmengine locate packages with the standard library instead of ``pkg_resources``.

    It needs the folder of a package for ``_base_ = 'mmseg::…'``.
    """
    import mmengine.config.config
    import mmengine.hub.hub
    import mmengine.utils.package_utils

    functions = dict(
        is_installed=_is_installed, get_installed_path=_find_package, package2module=_module_of
    )
    for module in (
        mmengine.utils.package_utils,
        mmengine.utils,
        mmengine.config.config,
        mmengine.hub.hub,
    ):
        for name, function in functions.items():
            if hasattr(module, name):
                setattr(module, name, function)


def _is_installed(package: str) -> bool:
    """Whether a package or distribution of this name is installed."""
    try:
        return bool(_find_package(package))
    except (ModuleNotFoundError, RuntimeError, ValueError):
        return False


def _find_package(package: str) -> str:
    """Folder of a package, given its name or the name of its distribution."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        spec = importlib.util.find_spec(_module_of(package))
    if spec is None or spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single folder')
    return osp.dirname(spec.origin)


def _module_of(package: str) -> str:
    """The module of a distribution, such as ``mmseg`` of ``mmsegmentation``."""
    modules = (distribution(package).read_text('top_level.txt') or '').split()
    if not modules:
        raise ValueError(f'can not infer the module name of {package}')
    return modules[0]


def let_workers_import_this_package(dataset: object) -> None:
    """Let spawned workers import this package before the module of the dataset.

    With mmcv-lite, mmseg's datasets cannot be imported otherwise (:func:`provide_mmcv_ext`).
    Unpickling imports an object's module first, so the dataset is pickled as a call of a function
    of this module.

    Args:
        dataset: A dataset that is passed to workers; affects all objects of its type, and only how
            multiprocessing pickles them.
    """
    ForkingPickler.register(type(dataset), _reduce)


def _reduce(dataset: object) -> tuple:
    reduced = dataset.__reduce_ex__(2)
    assert not isinstance(reduced, str)  # only globals are pickled by name
    function, args, *state = reduced
    return (_call, (function, *args), *state)


def _call(function: Callable, *args: object) -> object:
    return function(*args)
