"""A checkpoint's name or path → its tensors, or a tower."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmengine.logging import print_log
from torch import nn

from ..utils.download import download
from ..utils.errors import InputError
from ..utils.hub import parse_name, propose_name
from .layouts import (
    OPENAI_IMAGE,
    OPENAI_TEXT,
    Layout,
    StateDict,
    build_image_tower,
    build_text_tower,
    check_unread,
    clip_layouts,
    join_projections,
)
from .repository import Repository, clip_repository, config_beside, find_config, find_weights
from .tensor_files import read_tensors
from .text import TextTower
from .vit import VisionTransformer, round_matrices

Tower = TypeVar('Tower', bound=nn.Module)

# name → (SHA-256, file name)
OPENAI_CLIP = {
    'ViT-B/32': (
        '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
        'ViT-B-32.pt',
    ),
    'ViT-B/16': (
        '5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f',
        'ViT-B-16.pt',
    ),
    'ViT-L/14': (
        'b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836',
        'ViT-L-14.pt',
    ),
    'ViT-L/14@336px': (
        '3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02',
        'ViT-L-14-336px.pt',
    ),
}
# MetaCLIP (Xu et al., ICLR 2024), trained on 2.5 billion pairs; of its own, not OpenAI's, values.
META_CLIP = {
    'MetaCLIP-B/16': (
        '512ea0fb9f2cf88d027e96e4674247a1a91a96af18abc2e2fcdb8008c551e04b',
        'b16_fullcc2.5b.pt',
    ),
    'MetaCLIP-L/14': (
        'ce24750710544ee288ef0abdead2016730da1893a1d07447bda3a75e1c148f97',
        'l14_fullcc2.5b.pt',
    ),
}
DOWNLOAD_ROOT = 'SCLIP_DOWNLOAD_ROOT'


def download_root() -> Path:
    """Folder of downloaded checkpoints: ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip``."""
    return Path(os.environ.get(DOWNLOAD_ROOT) or '~/.cache/clip').expanduser()


def resolve_named(checkpoint: str, addresses: Mapping[str, str], key: str) -> Path:
    """Return the file behind a name or path, downloading it to :func:`download_root` if needed.

    Args:
        checkpoint: The name or path.
        addresses: Name → address of a file without a published checksum.
        key: The config's key, for an error message.

    Raises:
        InputError: If ``checkpoint`` is neither a known name nor a file, or the download fails.
    """
    if checkpoint in addresses:
        url = addresses[checkpoint]
        return download(url, download_root() / url.rpartition('/')[2], digest=None)
    path = find_weights(checkpoint)
    if path is None:
        raise InputError(
            f"{key}='{checkpoint}' is neither a file nor one of {', '.join(addresses)}"
            f'{propose_name(checkpoint)}'
        )
    return path


def resolve_clip(clip: str) -> Path:
    """Return the checkpoint file behind a CLIP name or path, downloading it if needed.

    Downloads go to ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip`` as openai-clip's do;
    those from the Hub to its own cache, see :mod:`..utils.hub`.

    Raises:
        InputError: If ``clip`` is neither a known name nor a file, or if the download fails.
    """
    if clip in OPENAI_CLIP:
        sha256, filename = OPENAI_CLIP[clip]
        return download(openai_url(sha256, filename), download_root() / filename, sha256)
    if clip in META_CLIP:
        sha256, filename = META_CLIP[clip]
        url = f'https://dl.fbaipublicfiles.com/MMPT/metaclip/{filename}'
        return download(url, download_root() / filename, sha256)
    if parse_name(clip) is not None:
        return clip_repository(clip).weights
    path = find_weights(clip)
    if path:
        return path
    if str(clip).startswith('RN'):
        raise InputError(f"clip='{clip}' is a ResNet CLIP, which has no patch tokens: {_choices()}")
    raise InputError(
        f"clip='{clip}' is neither a file nor a CLIP by name: {_choices()}{propose_name(clip)}"
    )


def openai_url(sha256: str, filename: str) -> str:
    """Where OpenAI publishes an archive."""
    return f'https://openaipublic.azureedge.net/clip/models/{sha256}/{filename}'


def _choices() -> str:
    names = ', '.join([*OPENAI_CLIP, *META_CLIP])
    return f'use one of {names}, hf:ORG/NAME, or the path of a ViT checkpoint'


def load_clip(clip: str) -> tuple[StateDict, Layout, Layout]:
    """Load a CLIP with a ViT image tower.

    Args:
        clip: A name in :data:`OPENAI_CLIP` or :data:`META_CLIP`, ``hf:ORG/NAME``, see
            :mod:`.repository`, or the path of a checkpoint, see :func:`read_tensors`, in the key
            layout of OpenAI, OpenCLIP, MetaCLIP or Hugging Face's ``CLIPModel``.

    Returns:
        Its tensors, and the layouts of its image and text tower.

    Raises:
        InputError: If the file is missing, truncated, a ResNet CLIP or no CLIP at all.
    """
    path = resolve_clip(clip)
    found = read_tensors(path)
    # OpenCLIP's CustomTextCLIP keeps the text tower below 'text.'.
    found = {key.removeprefix('text.'): value for key, value in found.items()}
    found = join_projections(found)
    layouts = clip_layouts(found, str(path))
    check_unread([key for key in found if not any(x.owns(key) for x in layouts)], str(path))
    return found, *layouts


def load_image_tower(
    clip: str, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> VisionTransformer:
    """Load a CLIP's image tower, float32 on the CPU.

    OpenAI publishes CLIP in float16, and the published programs round any checkpoint so. Here those
    are rounded that may be OpenAI's, and the log says so where it changes a value.

    Args:
        clip: See :func:`load_clip`.
        quick_gelu: OpenAI's activation; False for the exact GELU of most OpenCLIP checkpoints. None
            for what a repository of the Hub or a config beside a path states, else OpenAI's.
        round_weights: Whether matrices are rounded to float16; None for those with OpenAI's names
            and activation, but not MetaCLIP by name, nor where a config is followed.

    Raises:
        InputError: If the checkpoint cannot be used, or ``quick_gelu`` contradicts its repository.
    """
    options = image_options(clip, quick_gelu, round_weights)
    _log_config(clip, quick_gelu)
    round_weights = options.pop('round_weights')
    found, layout, _ = load_clip(clip)
    tower = build_image_tower(found, layout, f"clip='{clip}'", **options)
    return _rounded(tower, layout, round_weights, clip)


def load_text_tower(
    clip: str, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> TextTower:
    """Load a CLIP's text tower; arguments as :func:`load_image_tower`.

    Raises:
        InputError: If the checkpoint cannot be used or has no text tower.
    """
    options = text_options(clip, quick_gelu, round_weights)
    round_weights = options.pop('round_weights')
    found, _, layout = load_clip(clip)
    tower = build_text_tower(found, layout, f"clip='{clip}'", **options)
    return _rounded(tower, layout, round_weights, clip)


def image_options(
    clip: str, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> dict[str, Any]:
    """What an image tower's numbers depend on beside its tensors, as :func:`load_image_tower`.

    Returns:
        ``quick_gelu`` and ``round_weights``, decided as far as the name tells, and what is stated
        of it, see :func:`.repository.clip_repository`.

    Raises:
        InputError: If the repository cannot be fetched or used, or is contradicted.
    """
    repository = clip_repository(clip, quick_gelu)
    stated = {} if repository is None else repository.stated.image
    return _options(clip, repository, stated, quick_gelu, round_weights)


def text_options(
    clip: str | None, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> dict[str, Any]:
    """The same of a text tower, see :func:`image_options`."""
    repository = clip_repository(clip, quick_gelu)
    if repository is not None and repository.stated.text_problem:
        raise InputError(repository.stated.text_problem)
    stated = {} if repository is None else repository.stated.text
    return _options(clip, repository, stated, quick_gelu, round_weights)


def _options(
    clip: str | None,
    repository: Repository | None,
    stated: Mapping[str, Any],
    quick_gelu: bool | None,
    round_weights: bool | None,
) -> dict[str, Any]:
    if round_weights is None and (repository is not None or clip in META_CLIP):
        round_weights = False
    if repository is not None and quick_gelu not in (None, stated['quick_gelu']):
        raise InputError(
            f'quick_gelu={quick_gelu} contradicts {repository.stated.config} of {repository.name}, '
            f'which states {stated["quick_gelu"]}: leave quick_gelu out'
        )
    default = True if quick_gelu is None else quick_gelu
    return {'quick_gelu': default, **stated, 'round_weights': round_weights}


def _log_config(clip: str, quick_gelu: bool | None) -> None:
    """Say whether a config beside a path is followed."""
    config = find_config(clip)
    if config is None:
        return
    level = logging.INFO
    if quick_gelu is not None:
        words = f'is not followed, since quick_gelu={quick_gelu} is set'
    elif problem := config_beside(clip).problem:
        level = logging.WARNING
        words = f'is not followed, QuickGELU is assumed ({problem}): set quick_gelu to choose'
    else:
        stated = config_beside(clip).repository.stated
        words = f'is followed: {stated.image}, {stated.normalisation}'
    print_log(f"{config}, which lies beside clip='{clip}', {words}", 'current', level)


def _rounded(tower: Tower, layout: Layout, round_weights: bool | None, clip: str) -> Tower:
    if round_weights is None:
        quick_gelu = tower.blocks[0].quick_gelu
        round_weights = quick_gelu and layout in (OPENAI_IMAGE, OPENAI_TEXT)
    if round_weights and round_matrices(tower):
        print_log(
            f"The matrices of clip='{clip}' were rounded to float16, as OpenAI's are: "
            'round_weights=False keeps them (right for OpenCLIP and MetaCLIP)',
            'current',
        )
    return tower
