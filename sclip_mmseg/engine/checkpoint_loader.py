"""What mmengine's checkpoint loader, and so every OpenMMLab tool, accepts as CHECKPOINT."""

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

# Prefixes of the tensors' names in checkpoints of CLIP, GroupViT, TCL and SAM 3.
_PREFIXES = (
    *('visual.', 'vision_model.', 'img_encoder.', 'masker.', 'text.', 'text_model.'),
    *('detector.', 'detector_model.', 'detr_decoder.'),
)


class MissingCheckpoint(InputError, FileNotFoundError):
    """Neither a file nor a known name; a ``FileNotFoundError``, as mmengine's loader raises."""


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: str | None = None) -> dict:
    """Load a checkpoint file, or pass the name of a CLIP on to the segmentor.

    The segmentor loads a CLIP itself, from the name or path in the metadata of the state dict, see
    :meth:`..models.CLIPSegmentor.read_checkpoint`. Other files than checkpoints of a CLIP or of
    this package's segmentors are loaded by mmengine.

    Args:
        filename: A path, the name of a CLIP, or ``'none'`` for the config's own weights.
        map_location: See :func:`torch.load`.

    Returns:
        A dict of ``state_dict`` and of ``meta``, to which the segmentor adds ``dataset_meta``.

    Raises:
        InputError: If it is neither a known name nor a file, or if the file cannot be read.
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
    """The whole content of a file, or only its tensors if mmengine cannot read it."""
    try:
        content = load_any_file(filename, map_location)
    except (UnpicklingError, RuntimeError):
        content = {}
    if 'state_dict' not in content:
        state_dict = OrderedDict(tensors)
        # torch stores it in this attribute.
        state_dict._metadata = getattr(content, '_metadata', {})  # type: ignore[attr-defined]
        content = dict(state_dict=state_dict)
    return content


def _announce(filename: str, content: dict) -> dict:
    """Store the file name in the metadata of the state dict, from which the segmentor reads it."""
    meta = content.setdefault('meta', {})
    state_dict = content.get('state_dict', {})
    metadata = OrderedDict(getattr(state_dict, '_metadata', {}))
    metadata[''] = {**metadata.get('', {}), 'checkpoint': filename, 'meta': meta}
    content['state_dict'] = OrderedDict(state_dict)
    content['state_dict']._metadata = metadata
    return content
