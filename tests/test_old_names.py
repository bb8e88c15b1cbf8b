"""Names of earlier versions."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS
from paths import ROOT

import sclip_mmseg
from sclip_mmseg import InputError, old_names
from sclip_mmseg.config import find_config, read_config
from sclip_mmseg.models import PLAIN_DICTS
from sclip_mmseg.models.encoder import ImageEncoder
from sclip_mmseg.models.methods import SCLIP, WholeImageMethod
from sclip_mmseg.old_names import old_arguments
from sclip_mmseg.towers import build_image_tower, build_text_tower, load_clip
from sclip_mmseg.utils.spelling import check_config
from sclip_mmseg.web import Question


@pytest.fixture(autouse=True)
def _old_modules_are_forgotten():
    """Once imported, an old module is found without a warning."""
    yield
    for old in reversed(old_names.MODULES):  # those below others first
        parent, _, name = f'sclip_mmseg.{old}'.rpartition('.')
        if sys.modules.pop(f'{parent}.{name}', None) and name in vars(sys.modules[parent]):
            delattr(sys.modules[parent], name)


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


@pytest.mark.parametrize(
    'old, new',
    [
        ('sclip/sclip_vit-l14_voc21.py', 'sclip/sclip_vit-b16_voc21.py ViT-L/14'),
        ('resclip/resclip-naclip_vit-l14_ade20k.py', 'resclip/resclip-naclip_vit-b16_ade20k.py V'),
        ('_base_/protocols/resclip_ade20k.py', '_base_/protocols/ade20k.py'),
        ('_base_/protocols/sclip_context59.py', '_base_/protocols/context59.py'),
    ],
)
def test_a_removed_config_is_refused_with_its_successor(old, new):
    for folder in 'sclip_mmseg::', f'{ROOT}/configs/':
        with pytest.raises(InputError, match=f'{old} does not exist: use {folder}{new}'):
            find_config(f'{folder}{old}')
    with pytest.raises(InputError, match='does not exist in'):
        find_config('sclip_mmseg::sclip/sclip_vit-l14_nowhere.py')


def test_removed_keys_and_types_of_configs_are_refused_with_their_successors():
    cfg = read_config('sclip_mmseg::sclip/sclip_vit-b16_voc21.py')
    cfg.model.image_encoder.attention = dict(type='CSA')
    with pytest.raises(InputError, match=r"image_encoder.attention: .*write method=dict\(type='SC"):
        check_config(cfg, PLAIN_DICTS)
    with pytest.raises(TypeError, match=r"CLIPImageEncoder takes no 'attention': write method="):
        MODELS.build(cfg.model.image_encoder)
    cfg.model.image_encoder.pop('attention')
    cfg.test_evaluator.type = 'ReportingIoUMetric'
    with pytest.raises(InputError, match="'ReportingIoUMetric' was removed: use ConfusionMetric"):
        check_config(cfg, PLAIN_DICTS)


def test_a_question_of_the_page_has_an_image():
    with pytest.warns(FutureWarning, match="Question's argument picture is now called image"):
        question = Question(picture='photo.jpg', classes='cat', method='sclip')
    with pytest.warns(FutureWarning, match='Question.picture is now called image'):
        assert question.picture == question.image == 'photo.jpg'


def test_towers_are_built_from_tensors_as_before(clip_path):
    tensors, image, text = load_clip(clip_path)
    with pytest.warns(FutureWarning, match=r'now called build_image_tower\(Weights\(tensors'):
        tower = build_image_tower(tensors, image, 'toy')
    with pytest.warns(FutureWarning, match='now called build_image_tower'):
        other = build_image_tower(tensors, layout=image, source='toy')
    torch.testing.assert_close(tower.state_dict(), other.state_dict())
    with pytest.warns(FutureWarning, match='now called build_text_tower'):
        build_text_tower(tensors, text, 'toy')
