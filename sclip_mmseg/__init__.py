"""Open-vocabulary segmentation with a frozen CLIP, for MMSegmentation.

Importing the package registers its models, datasets, hooks and visualizer with mmseg.
"""

import gc

from .utils.compat import (
    check_mmcv,
    check_opencv,
    provide_mmcv_ext,
    register_config_scope,
    restore_find_loader,
    restore_package_lookup,
)

_collecting = gc.isenabled()
gc.disable()  # looking for garbage among all that is imported takes half a second
check_opencv()
restore_find_loader()
check_mmcv()
provide_mmcv_ext()
restore_package_lookup()
register_config_scope()

from . import datasets, engine, evaluation, models, regions, visualization  # noqa: E402
from .utils.errors import InputError  # noqa: E402
from .version import __version__  # noqa: E402

if _collecting:
    gc.enable()

__all__ = [
    'InputError',
    '__version__',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'regions',
    'visualization',
]
