"""Where the systems' authors publish their checkpoints."""

from pathlib import Path

from ...towers.checkpoint import resolve_named

_GITHUB = 'https://github.com/{}/releases/download/v1.0.0/{}'
#: Name → address. None of the files has a published checksum.
TRAINED = {
    'groupvit_gcc_yfcc': _GITHUB.format('xvjiarui/GroupViT', 'group_vit_gcc_yfcc_30e-879422e0.pth'),
    'groupvit_gcc_redcap': _GITHUB.format(
        'xvjiarui/GroupViT-1', 'group_vit_gcc_redcap_30e-3dd09a76.pth'
    ),
    'tcl': _GITHUB.format('kakaobrain/tcl', 'tcl.pth'),
}


def resolve_trained(checkpoint: str) -> Path:
    """Return the file behind a name in :data:`TRAINED` or a path, downloading it if needed.

    Downloads go where CLIP's do, see :func:`...towers.resolve_clip`.

    Raises:
        InputError: If ``checkpoint`` is neither a known name nor a file, or if the download fails.
    """
    return resolve_named(checkpoint, TRAINED, 'model.image_encoder.checkpoint')
