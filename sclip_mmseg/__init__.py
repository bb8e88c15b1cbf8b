"""Open-vocabulary segmentation with a frozen CLIP, for MMSegmentation.

Importing the package registers its models, datasets, hooks and visualizer with mmseg.
"""

from .utils.compat import (
    check_mmcv,
    check_opencv,
    provide_mmcv_ext,
    register_config_scope,
    restore_find_loader,
    restore_package_lookup,
)
from .utils.garbage import uncollected

with uncollected():
    check_opencv()
    restore_find_loader()
    check_mmcv()
    provide_mmcv_ext()
    restore_package_lookup()
    register_config_scope()

    from . import datasets, engine, evaluation, models, regions, visualization
    from .utils.errors import InputError
    from .version import __version__

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
