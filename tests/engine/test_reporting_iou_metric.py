import resource
import sys
from types import SimpleNamespace

import pytest
import torch

from sclip_mmseg.engine.reporting_iou_metric import _peak_memory


@pytest.mark.parametrize('platform, peak', [('linux', 7 << 10), ('darwin', 7), ('win32', None)])
def test_peak_memory_is_in_bytes_on_any_system(monkeypatch, platform, peak):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(resource, 'getrusage', lambda who: SimpleNamespace(ru_maxrss=7))
    assert _peak_memory() == peak
