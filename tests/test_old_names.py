"""Names of earlier versions."""

import importlib
import sys
import warnings

import pytest

from sclip_mmseg import InputError, old_names
from sclip_mmseg.models.encoder import ImageEncoder
from sclip_mmseg.models.methods import SCLIP, WholeImageMethod


@pytest.mark.parametrize('old, new', old_names.MODULES.items())
def test_an_old_module_is_the_present_one(old, new):
    present = importlib.import_module(f'sclip_mmseg.{new}')
    sys.modules.pop(f'sclip_mmseg.{old}', None)
    with pytest.warns(FutureWarning, match=f'{old} is now called sclip_mmseg.{new}'):
        module = importlib.import_module(f'sclip_mmseg.{old}')
    for name in present.__dict__.get('__all__', []):
        assert getattr(module, name) is getattr(present, name)


@pytest.mark.parametrize(
    'module, old, new',
    [
        ('models.windowed_image', 'Picture', 'WindowedImage'),
        ('models.windowed_image', 'PictureFeatures', 'ImageFeatures'),
        ('models.picture', 'Picture', 'WindowedImage'),
        ('models.methods', 'PictureMethod', 'WholeImageMethod'),
        ('models.methods.base', 'PictureMethod', 'WholeImageMethod'),
        ('models.memory', 'pool_picture', 'pool_image'),
    ],
)
def test_an_old_name_is_the_present_one(module, old, new):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        module = importlib.import_module(f'sclip_mmseg.{module}')
    with pytest.warns(FutureWarning, match=f'{old} is now called {new}'):
        found = getattr(module, old)
    assert found is getattr(module, new)


def test_a_name_that_never_was():
    with pytest.raises(ImportError, match="cannot import name 'Zebra'"):
        exec('from sclip_mmseg.models.methods import Zebra')


def test_old_attributes():
    method = SCLIP()
    with pytest.warns(FutureWarning, match='picture_size is now called working_size'):
        assert method.picture_size(None, (2, 3), (1, 1)) == (2, 3)
    with pytest.warns(FutureWarning, match='sees_picture is now called sees_whole_image'):
        method.sees_picture = True
    assert method.sees_whole_image


@pytest.mark.parametrize(
    'base, old, new',
    [
        (SCLIP, 'picture_size', 'working_size'),
        (WholeImageMethod, 'sees_picture', 'sees_whole_image'),
        (ImageEncoder, 'encode_picture', 'encode_image'),
    ],
)
def test_overriding_by_an_old_name_is_refused(base, old, new):
    message = f'test_old_names.Mine overrides {old}, which is now called {new}: rename it'
    with pytest.raises(InputError, match=message):
        type('Mine', (base,), {old: True, '__module__': 'test_old_names'})
