"""Names of earlier versions."""

import importlib
import sys
from pathlib import Path

import pytest
from paths import ROOT

import sclip_mmseg
from sclip_mmseg import InputError, old_names
from sclip_mmseg.models.encoder import ImageEncoder
from sclip_mmseg.models.methods import SCLIP, WholeImageMethod
from sclip_mmseg.old_names import old_arguments


@pytest.mark.parametrize('old, new', old_names.MODULES.items())
def test_an_old_module_is_the_present_one(old, new):
    sys.modules.pop(f'sclip_mmseg.{old}', None)
    if ' ' in new:
        with pytest.raises(ImportError, match=f'sclip_mmseg.{old} was removed: '):
            importlib.import_module(f'sclip_mmseg.{old}')
        return
    present = importlib.import_module(f'sclip_mmseg.{new}')
    with pytest.warns(FutureWarning, match=f'{old} is now called sclip_mmseg.{new}'):
        module = importlib.import_module(f'sclip_mmseg.{old}')
    for name in filter(str.isidentifier, vars(present)):
        if not name.startswith('_'):
            assert getattr(module, name) is getattr(present, name)


def _kept_names():
    """Every name that some module keeps, as (module, old, new)."""
    for path in sorted(Path(sclip_mmseg.__file__).parent.rglob('*.py')):
        if 'keep_old_names(__name__' in path.read_text(encoding='utf8'):
            parts = path.relative_to(ROOT).with_suffix('').parts
            importlib.import_module('.'.join(parts).removesuffix('.__init__'))
    for module, names in old_names.KEPT.items():
        for old, new in names.items():
            yield module, old, new


@pytest.mark.parametrize('module, old, new', [*_kept_names()])
def test_an_old_name_is_the_present_one(module, old, new):
    members = vars(sys.modules[module])
    assert old not in members, 'an old name is used again'
    if ' ' in new:
        with pytest.raises(ImportError, match=f'^{module}.{old} was removed: '):
            exec(f'from {module} import {old}')
        return
    with pytest.warns(FutureWarning, match=f'{module}.{old} is now called .*{new}'):
        found = getattr(sys.modules[module], old)
    below, _, name = (f'sclip_mmseg.{new}' if '.' in new else f'{module}.{new}').rpartition('.')
    assert found is getattr(importlib.import_module(below), name)


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


def test_old_arguments():
    @old_arguments(side='width', depth='give a volume')
    def draw(width=0):
        return width

    with pytest.warns(FutureWarning, match="draw's argument side is now called width") as caught:
        assert draw(side=3) == 3
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="draw takes no 'depth': give a volume"):
        draw(depth=3)
