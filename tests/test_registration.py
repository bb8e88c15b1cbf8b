"""The registries hold what the package has, whatever is imported first."""

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
assert not {'torch', 'mmengine', 'numpy', 'cv2'} & set(sys.modules)
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


@pytest.mark.parametrize(
    'first',
    [
        f'{LIGHT}\nimport sclip_mmseg',
        'import importlib.util, sclip_mmseg\nimportlib.util.find_spec("mmseg")\nimport mmcv',
        'from mmengine.config import Config\nimport sclip_mmseg',
        'from sclip_mmseg.config import read_config',
        'from sclip_mmseg.registry import METHODS\nassert "SCLIP" in METHODS.module_dict',
    ],
    ids=['light', 'looked for', 'mmengine', 'config', 'registry'],
)
def test_what_is_imported_first_does_not_matter(first):
    command = [sys.executable, '-c', first + REGISTERED]
    subprocess.run(command, cwd=ROOT, check=True)
