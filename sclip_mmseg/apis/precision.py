"""The precision in which your own images are segmented. Evaluations run in float32."""

import threading
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log

from ..models import CLIPSegmentor
from ..models.image_encoder import check_precision
from ..registry import type_name

#: Methods with the same classes in float16 and float32 at 99.5 % of pixels or more (docs/speed.md).
AGREEING = frozenset('CLIP ClearCLIP MaskCLIP NACLIP PEARL RFCLIP ResCLIP SCCLIP SCLIP SFP'.split())
_TENSOR_CORES = 7, 0  # the first compute capability with tensor cores for float16
_in_float32: WeakKeyDictionary[CLIPSegmentor, CLIPSegmentor] = WeakKeyDictionary()
_lock = threading.Lock()


class Choice(NamedTuple):
    """A precision, and the reason for it."""

    precision: str
    reason: str


def choose_precision(
    encoder: ConfigDict, device: str | torch.device, asked: str | None = None
) -> Choice:
    """Choose the precision for your own images, the same on each machine of a kind.

    Args:
        encoder: Config of the image encoder. If it sets a precision, that is kept.
        device: Device of the model.
        asked: Precision that the user chose; None for float16 where that is fast and changes
            hardly any label, else float32.

    Raises:
        InputError: If the precision does not exist.
    """
    if asked is not None:
        check_precision(asked)
        return Choice(asked, 'as asked for')
    if 'precision' in encoder:
        return Choice(encoder.precision, 'as the config says')
    if type_name(encoder) != 'CLIPImageEncoder':
        return Choice('fp32', 'float16 was not compared for this system')
    if not is_half_fast(torch.device(device)):
        return Choice('fp32', 'this device computes float16 no faster')
    if type_name(encoder.method) not in AGREEING or encoder.get('proxy') or encoder.get('sam'):
        return Choice('fp32', 'float16 may change labels of this method')
    return Choice('fp16', 'fast on this device; fp32 takes longer and differs in few pixels')


def is_half_fast(device: torch.device) -> bool:
    """Whether a device multiplies float16 matrices faster than float32 ones.

    This is decided by the kind of device, not by a measurement, so that labels do not depend on
    chance.
    """
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= _TENSOR_CORES
    if device.type != 'cpu':
        return False
    has_tiles = getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)  # torch >= 2.6
    has_half = getattr(torch.ops.mkldnn, '_is_mkldnn_fp16_supported', lambda: False)
    return has_tiles() and has_half()


def in_float32(model: CLIPSegmentor, build: Callable[[], CLIPSegmentor]) -> CLIPSegmentor:
    """The same segmentor in float32, built on first use."""
    with _lock:
        if model not in _in_float32:
            print_log('float16 overflows: such images are segmented again in float32', 'current')
            _in_float32[model] = build()
        return _in_float32[model]
