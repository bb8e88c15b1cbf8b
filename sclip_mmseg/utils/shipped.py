"""Paths of the files that ship with the package: configs, tools, the model index.

A wheel contains them in ``sclip_mmseg/.mim``, like OpenMMLab's packages (``setup.py`` copies them
there); a clone has them in its root.
"""

import os
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_root() -> Path:
    """The folder that holds ``configs``, ``tools`` and ``model-index.yml``."""
    mim = _PACKAGE / '.mim'
    return mim if mim.is_dir() else _PACKAGE.parent


def configs_dir() -> Path:
    """The folder of the shipped configs."""
    return shipped_root() / 'configs'


def read_yaml(name: str) -> dict[str, Any]:
    """The content of a YAML file in the folder of the shipped configs."""
    import yaml

    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    with open(configs_dir() / name, encoding='utf-8') as file:
        return yaml.load(file, loader)


def data_dir() -> Path:
    """The folder of all datasets, as in the configs (``_base_/datasets/benchmark.py``).

    ``SCLIP_DATA_ROOT`` if set, otherwise ``data`` of the clone, or, without a clone, of the current
    folder.
    """
    if root := os.environ.get('SCLIP_DATA_ROOT'):
        return Path(root)
    return Path('data') if shipped_root().name == '.mim' else shipped_root() / 'data'
