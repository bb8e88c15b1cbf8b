"""No name that this package registers is one of mmengine's, mmcv's or mmseg's."""

import mmcv.transforms  # noqa: F401
import mmengine.registry
import mmseg.registry
import pytest
import torch
from helpers import load_config
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

_REGISTRIES = {
    name: value for name, value in vars(mmengine.registry).items() if isinstance(value, Registry)
}


def _registered(registry):
    """Name and package of all that is in a registry and its children, mmseg's among them."""
    registry.import_from_location()
    found = [(name, each.__module__) for name, each in registry.module_dict.items()]
    for child in registry.children.values():
        found += _registered(child)
    return found


@pytest.mark.parametrize('name', _REGISTRIES)
def test_names_are_own(name):
    own, others = set(), set()
    for registered, module in _registered(_REGISTRIES[name]):
        (own if module.startswith('sclip_mmseg') else others).add(registered)
    assert not own & others


def test_each_registry_of_mmseg_was_looked_at():
    seen = {id(child) for root in _REGISTRIES.values() for child in root.children.values()}
    found = [value for value in vars(mmseg.registry).values() if isinstance(value, Registry)]
    assert found and {id(registry) for registry in found} <= seen
    assert ('InputCheckHook', 'sclip_mmseg.engine.input_check_hook') in _registered(
        _REGISTRIES['HOOKS']
    )


def test_a_name_of_mmengine_is_mmengine_s():
    assert HOOKS.get('CheckpointHook') is CheckpointHook


class Distiller(BaseModel):
    """A student that learns a segmentor's maps."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = ROOT_MODELS.build(teacher)
        self.student = nn.Conv2d(3, 20, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        inputs = torch.stack(inputs)
        with torch.no_grad():
            wanted = self.teacher.encode_decode(inputs)
        return dict(loss=(self.student(inputs) - wanted[:, :20]).square().mean())


@pytest.mark.parametrize('scope', ['mmseg', 'mmengine'])
def test_a_training_with_a_segmentor_as_teacher(clip_path, tmp_path, scope):
    teacher = dict(load_config('sclip_vit-b16_voc20', clip_path).model, type='mmseg.CLIPSegmentor')
    model = Distiller(teacher)
    data = [dict(inputs=torch.randn(3, 64, 64)) for _ in range(2)]
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(dataset=data, sampler=dict(type='DefaultSampler'), batch_size=1),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        default_scope=scope,
        experiment_name=f'teacher_{scope}',
    )
    runner.train()
    assert (tmp_path / 'iter_2.pth').is_file()
