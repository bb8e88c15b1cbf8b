"""URLs of the systems' published checkpoints."""

from ...towers.repository import Checkpoint, Family, Published, find


def _release(repository: str, file: str) -> Published:
    return Published(f'https://github.com/{repository}/releases/download/v1.0.0/{file}')


#: Checkpoints by name. None has a published checksum.
TRAINED = {
    'groupvit_gcc_yfcc': _release('xvjiarui/GroupViT', 'group_vit_gcc_yfcc_30e-879422e0.pth'),
    'groupvit_gcc_redcap': _release('xvjiarui/GroupViT-1', 'group_vit_gcc_redcap_30e-3dd09a76.pth'),
    'tcl': _release('kakaobrain/tcl', 'tcl.pth'),
}
_FAMILY = Family('model.image_encoder.checkpoint', TRAINED)


def find_trained(checkpoint: str) -> Checkpoint:
    """Find the checkpoint of a name in :data:`TRAINED`, or of a path.

    See :mod:`...towers.repository`.

    Raises:
        InputError: If ``checkpoint`` is neither a known name nor a file, or if the download fails.
    """
    return find(checkpoint, _FAMILY)
