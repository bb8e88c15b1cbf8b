"""Open-vocabulary segmentation with a frozen CLIP, for MMSegmentation.

Importing the package registers its models, datasets, hooks and visualizer with mmseg
(:mod:`.registration`): immediately if mmengine is already imported, otherwise once it is.
"""

from importlib import import_module
from typing import Any

from . import old_names, registration  # noqa: F401
from .utils.errors import InputError
from .version import __version__

_SUBPACKAGES = 'apis', 'datasets', 'engine', 'evaluation', 'models', 'regions', 'visualization'
__all__ = ['InputError', '__version__', *_SUBPACKAGES]

registration.register_once_needed()


def __getattr__(name: str) -> Any:
    if name not in _SUBPACKAGES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return import_module(f'.{name}', __name__)
