"""The meaning of CHECKPOINT to mmengine's loader, and so to all programs of OpenMMLab."""

import os
from collections import OrderedDict
from pickle import UnpicklingError

from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local as load_any_file

from ..config import NO_CHECKPOINT, is_saved_model
from ..models.trained import TRAINED
from ..towers import read_tensors, resolve_clip
from ..towers.checkpoint import CLIPS
from ..utils.errors import InputError
from ..utils.files import find_file
from ..utils.hub import parse_name

# How the tensors of CLIPs, GroupViTs, TCLs and SAM 3s are named.
_PREFIXES = (
    *('visual.', 'vision_model.', 'img_encoder.', 'masker.', 'text.', 'text_model.'),
    *('detector.', 'detector_model.', 'detr_decoder.'),
)


class MissingCheckpoint(InputError, FileNotFoundError):
    """There is no such file, as mmengine's loader says it, nor such a name."""


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: str | None = None) -> dict:
    """Load a file, or what a name of a CLIP stands for.

    A CLIP is left to the segmentor, which is told its name or path: see
    :meth:`..models.CLIPSegmentor.read_checkpoint`. Files of neither a CLIP nor a segmentor of this
    package are mmengine's.

    Args:
        filename: A path, a CLIP by name, or ``'none'`` for the one that the config names.
        map_location: See :func:`torch.load`.

    Returns:
        ``state_dict``, and ``meta`` to which the segmentor adds ``dataset_meta``.

    Raises:
        InputError: If it is neither a name nor a file, or a file that cannot be read.
    """
    if filename == NO_CHECKPOINT or _is_name(filename):
        return _announce(filename, {})
    path = find_file(filename)
    if path is None:
        try:
            path = resolve_clip(filename)
        except InputError as error:
            raise MissingCheckpoint(str(error)) from error
    try:
        tensors = read_tensors(path)
    except InputError as unreadable:
        try:
            return load_any_file(filename, map_location)
        except (UnpicklingError, RuntimeError, EOFError, ValueError, LookupError):
            raise unreadable from None
    if is_saved_model(tensors):
        return _announce(filename, _whole(filename, map_location, tensors))
    if any(name.startswith(_PREFIXES) for name in tensors):
        return _announce(filename, dict(state_dict=tensors))
    return load_any_file(filename, map_location)


def _is_name(filename: str) -> bool:
    names = {*CLIPS, *TRAINED}
    return filename in names or os.path.isdir(filename) or parse_name(filename) is not None


def _whole(filename: str, map_location: str | None, tensors: dict) -> dict:
    """All that a file holds, or its tensors where it is of a kind that mmengine cannot read."""
    try:
        content = load_any_file(filename, map_location)
    except (UnpicklingError, RuntimeError):
        content = {}
    if 'state_dict' not in content:
        state_dict = OrderedDict(tensors)
        # Where torch keeps it.
        state_dict._metadata = getattr(content, '_metadata', {})  # type: ignore[attr-defined]
        content = dict(state_dict=state_dict)
    return content


def _announce(filename: str, content: dict) -> dict:
    """Tell the segmentor, by the metadata of the state dict, where it comes from."""
    meta = content.setdefault('meta', {})
    state_dict = content.get('state_dict', {})
    metadata = OrderedDict(getattr(state_dict, '_metadata', {}))
    metadata[''] = {**metadata.get('', {}), 'checkpoint': filename, 'meta': meta}
    content['state_dict'] = OrderedDict(state_dict)
    content['state_dict']._metadata = metadata
    return content
