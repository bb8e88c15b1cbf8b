"""Cached tensors, where a program is traced."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from sclip_mmseg.utils.cache import cached_tensors


def _fake(module, x):
    with FakeTensorMode() as mode:
        module(mode.from_tensor(x))


TRACERS = {
    'fake': _fake,
    'export': lambda module, x: torch.export.export(module, (x,)),
    'strict export': lambda module, x: torch.export.export(module, (x,), strict=True),
    'make_fx fake': lambda module, x: make_fx(module, tracing_mode='fake')(x),
    'make_fx symbolic': lambda module, x: make_fx(module, tracing_mode='symbolic')(x),
    'functionalize': lambda module, x: torch.func.functionalize(module)(x),
    'jit': lambda module, x: torch.jit.trace(module, (x,)),
}


class Adds(torch.nn.Module):
    """Adds what a cache holds."""

    def __init__(self):
        super().__init__()
        self.cached = cached_tensors(1 << 20)(lambda count: torch.arange(count) * 1.0)

    def forward(self, x):
        return x + self.cached(len(x))


@pytest.mark.parametrize('before', [False, True], ids=['empty', 'filled'])
@pytest.mark.parametrize('tracer', TRACERS)
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_a_trace_leaves_the_cache_as_it_is(tracer, before):
    module, x = Adds(), torch.ones(3)
    if before:
        module(x)
    TRACERS[tracer](module, x)
    result = module(x)
    assert type(result) is torch.Tensor and result.tolist() == [1, 2, 3]
