"""Where the systems' authors publish their checkpoints."""

from pathlib import Path

from ...towers.checkpoint import download_root
from ...utils.download import download
from ...utils.errors import InputError
from ...utils.files import find_file

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
    if checkpoint in TRAINED:
        url = TRAINED[checkpoint]
        return download(url, download_root() / url.rpartition('/')[2], digest=None)
    path = find_file(checkpoint)
    if path is None:
        raise InputError(
            f"model.image_encoder.checkpoint='{checkpoint}' is neither a file nor one of "
            f'{", ".join(TRAINED)}'
        )
    return path
