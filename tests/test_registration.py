"""The package's classes are registered, whatever is imported first."""

import subprocess
import sys

import pytest
from helpers import ROOT

LIGHT = """
import sys
from sclip_mmseg.registration import LIGHT
import importlib
for name in LIGHT:
    importlib.import_module(name)
"""
REGISTERED = """
import mmengine.hub
from mmengine.registry import HOOKS, DefaultScope
from mmseg.registry import DATASETS, MODELS
for name in ('CLIPSegmentor', 'COCOObjectDataset', 'ConfusionMetric', 'InputCheckHook',
             'OverlayVisualizer', 'EvaluationRunner'):
    registries = vars(__import__('mmseg.registry').registry).values()
    assert any(name in getattr(each, 'module_dict', ()) for each in registries), name
assert mmengine.hub.get_config('sclip_mmseg::sclip/sclip_vit-b16_voc20.py').model
import mmcv.ops
"""


ORDERS = (
    f'{LIGHT}\nimport sclip_mmseg',
    'import importlib.util, sclip_mmseg\nimportlib.util.find_spec("mmseg")\nimport mmcv',
    'from mmengine.config import Config\nimport sclip_mmseg',
    'from sclip_mmseg.config import read_config',
    'from sclip_mmseg.registry import METHODS\nassert "SCLIP" in METHODS.module_dict',
)
# Each in a process of its own, forked from one that has what takes longest to import.
FORKS = f"""
import os, traceback
from contextlib import suppress
from importlib import import_module
for name in ('torch', 'scipy.optimize', 'scipy.sparse', 'sympy', 'transformers', 'yapf', 'cv2',
             'huggingface_hub', 'matplotlib', 'rich', 'trio'):
    with suppress(ImportError):
        import_module(name)
for first in {ORDERS}:
    if not (child := os.fork()):
        try:
            exec(first + {REGISTERED!r}, {{}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, first
"""


@pytest.mark.parametrize(
    'program',
    [
        f'{LIGHT}\nassert not {{"torch", "mmengine", "numpy", "cv2"}} & set(sys.modules)',
        pytest.param(
            FORKS, marks=pytest.mark.skipif(sys.platform == 'win32', reason='cannot fork')
        ),
    ],
    ids=['light', 'orders'],
)
def test_import_order_does_not_matter(program):
    subprocess.run([sys.executable, '-c', program], cwd=ROOT, check=True)
