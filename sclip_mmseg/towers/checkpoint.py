"""CLIP checkpoints by name or path: their tensors and towers."""

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..old_names import keep_old_names
from ..utils.errors import InputError
from .building import Weights, build_image_tower, build_text_tower, check_heads
from .layouts import (
    OPENAI_IMAGE,
    OPENAI_TEXT,
    Layout,
    StateDict,
    check_unread,
    clip_layouts,
    join_projections,
)
from .repository import Checkpoint, Family, Published, check_checkpoint, find
from .spec import (
    OPEN_CLIP,
    TRANSFORMERS,
    WEIGHTS,
    CheckpointSpec,
    Files,
    read_clip,
    read_clip_config,
)
from .tensor_files import read_tensors
from .text import TextTower
from .vit import VisionTransformer, round_matrices

_CLIPS_BY_NAME = 'CLIPS has the addresses and checksums of all CLIPs by name'
keep_old_names(
    __name__,
    META_CLIP=_CLIPS_BY_NAME,
    OPENAI_CLIP=_CLIPS_BY_NAME,
    download_root='towers.repository.download_root',
    openai_url=_CLIPS_BY_NAME,
)


def _openai(sha256: str, file: str) -> Published:
    return Published(f'https://openaipublic.azureedge.net/clip/models/{sha256}/{file}', sha256)


def _meta(sha256: str, file: str) -> Published:
    return Published(f'https://dl.fbaipublicfiles.com/MMPT/metaclip/{file}', sha256)


#: CLIPs by name: OpenAI's, and MetaCLIP (Xu et al., ICLR 2024), trained on 2.5 billion pairs.
CLIPS = {
    'ViT-B/32': _openai(
        '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af', 'ViT-B-32.pt'
    ),
    'ViT-B/16': _openai(
        '5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f', 'ViT-B-16.pt'
    ),
    'ViT-L/14': _openai(
        'b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836', 'ViT-L-14.pt'
    ),
    'ViT-L/14@336px': _openai(
        '3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02', 'ViT-L-14-336px.pt'
    ),
    'MetaCLIP-B/16': _meta(
        '512ea0fb9f2cf88d027e96e4674247a1a91a96af18abc2e2fcdb8008c551e04b', 'b16_fullcc2.5b.pt'
    ),
    'MetaCLIP-L/14': _meta(
        'ce24750710544ee288ef0abdead2016730da1893a1d07447bda3a75e1c148f97', 'l14_fullcc2.5b.pt'
    ),
}
_FAMILY = Family(
    'clip',
    CLIPS,
    read_clip,
    (OPEN_CLIP, TRANSFORMERS),
    f'is neither a file nor a CLIP by name: use one of {", ".join(CLIPS)}, hf:ORG/NAME, or the '
    'path of a checkpoint of a ViT (a ResNet CLIP has no patch tokens)',
)


def check_clip(clip: str) -> None:
    """Refuse what is neither a CLIP by name nor a file, without downloading anything.

    Raises:
        InputError: If it is neither.
    """
    check_checkpoint(clip, _FAMILY)


def find_clip(clip: str | None, quick_gelu: bool | None = None) -> Checkpoint:
    """Find a CLIP, see :func:`.repository.find`.

    Args:
        clip: Name or path, see :func:`load_clip`.
        quick_gelu: The user's setting; unless None, a config beside the path is ignored.

    Raises:
        InputError: If there is no such CLIP, or the checkpoint at a path cannot be read.
    """
    found = find(clip, _FAMILY)
    own = [config for config, names in WEIGHTS.items() if found.weights.name in names]
    if found.spec or not own:
        return found
    # Prefer the config of the library that names its weights this way.
    config = Files(found.weights.parent).find(*own, *WEIGHTS)
    if config is None:
        return found
    spec = problem = None
    if quick_gelu is not None:
        outcome = f'is ignored because quick_gelu={quick_gelu} is set'
    else:
        spec, problem = _config_beside(config.absolute(), found.weights.absolute())
        outcome = f'is ignored, QuickGELU is assumed ({problem}): set quick_gelu to choose'
    if spec:
        outcome = f'is used: {spec.image}, {spec.normalisation}'
    _log_once(f"{config} beside clip='{clip}' {outcome}", warn=bool(problem))
    return Checkpoint(found.weights, spec, str(config.parent.absolute()))


@lru_cache(maxsize=64)
def _log_once(message: str, warn: bool) -> None:
    print_log(message, 'current', logging.WARNING if warn else logging.INFO)


def resolve_clip(clip: str) -> Path:
    """Path of the checkpoint file of a CLIP given by name or path, see :func:`find_clip`."""
    return find(clip, _FAMILY).weights


@lru_cache(maxsize=8)
def _config_beside(config: Path, weights: Path) -> tuple[CheckpointSpec | None, str]:
    """The spec in a config; or None, and why the config does not fit the checkpoint."""
    found = read_tensors(weights)
    layout, _ = clip_layouts(found, str(weights))
    width = Weights(found, layout, str(weights)).get('class_token').numel()
    try:
        spec = read_clip_config(Files(config.parent), config.name)
        check_heads(width, dict(spec.image), weights.name)
    except InputError as error:
        return None, str(error)
    return spec, ''


def load_clip(clip: str) -> tuple[StateDict, Layout, Layout]:
    """Load a CLIP with a ViT image tower.

    Args:
        clip: A name in :data:`CLIPS`; ``hf:ORG/NAME``, see :mod:`.repository`; or the path of a
            checkpoint, see :func:`read_tensors`, with the key layout of OpenAI, OpenCLIP, MetaCLIP
            or Hugging Face's ``CLIPModel``.

    Returns:
        The tensors, and the layouts of the image tower and the text tower.

    Raises:
        InputError: If the file is missing, truncated, a ResNet CLIP, or not a CLIP.
    """
    path = resolve_clip(clip)
    found = read_tensors(path)
    # OpenCLIP's CustomTextCLIP stores the text tower below 'text.'.
    found = {key.removeprefix('text.'): value for key, value in found.items()}
    found = join_projections(found)
    layouts = clip_layouts(found, str(path))
    check_unread([key for key in found if not any(x.owns(key) for x in layouts)], str(path))
    return found, *layouts


def count_blocks(clip: str) -> int:
    """Number of blocks of a CLIP's image tower, see :func:`load_clip`."""
    found, layout, _ = load_clip(clip)
    return Weights(found, layout, f"clip='{clip}'").depth()


def load_image_tower(
    clip: str, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> VisionTransformer:
    """Load a CLIP's image tower, float32 on the CPU.

    OpenAI publishes CLIP in float16, and the published programs round any checkpoint to it. By
    default, only checkpoints that may be OpenAI's are rounded here, which is logged if it changes a
    value.

    Args:
        clip: Name or path, see :func:`load_clip`.
        quick_gelu: Whether the activation is OpenAI's QuickGELU; False for the exact GELU of most
            OpenCLIP checkpoints. None for the value in the config of a Hub repository or beside a
            path, or QuickGELU without a config.
        round_weights: Whether matrices are rounded to float16. None for checkpoints with OpenAI's
            tensor names and activation, except MetaCLIP by name and those with a config.

    Raises:
        InputError: If the checkpoint cannot be used, or ``quick_gelu`` contradicts its repository.
    """
    return _load('image', clip, quick_gelu, round_weights)


def load_text_tower(
    clip: str, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> TextTower:
    """Load a CLIP's text tower; for the arguments see :func:`load_image_tower`.

    Raises:
        InputError: If the checkpoint cannot be used or has no text tower.
    """
    return _load('text', clip, quick_gelu, round_weights)


def _load(kind: str, clip: str, quick_gelu: bool | None, round_weights: bool | None) -> Any:
    options = _options(kind, clip, quick_gelu, round_weights)
    round_weights = options.pop('round_weights')
    found, image, text = load_clip(clip)
    layout = image if kind == 'image' else text
    build: Callable[..., VisionTransformer | TextTower]
    build = build_image_tower if kind == 'image' else build_text_tower
    tower = build(Weights(found, layout, f"clip='{clip}'"), **options)
    if round_weights is None:
        round_weights = tower.blocks[0].quick_gelu and layout in (OPENAI_IMAGE, OPENAI_TEXT)
    if round_weights and round_matrices(tower):
        print_log(
            f"The matrices of clip='{clip}' were rounded to float16, like OpenAI's: "
            'round_weights=False keeps them (correct for OpenCLIP and MetaCLIP)',
            'current',
        )
    return tower


def text_options(
    clip: str | None, quick_gelu: bool | None = None, round_weights: bool | None = None
) -> dict[str, Any]:
    """Options that a text tower's output depends on; arguments as :func:`load_text_tower`.

    Returns:
        ``quick_gelu``, ``round_weights`` (None if it depends on the tensors), and the options
        stated in a config.

    Raises:
        InputError: If the repository cannot be downloaded or used, or contradicts ``quick_gelu``.
    """
    return _options('text', clip, quick_gelu, round_weights)


def _options(
    kind: str, clip: str | None, quick_gelu: bool | None, round_weights: bool | None
) -> dict[str, Any]:
    _, spec, name = find_clip(clip, quick_gelu)
    if spec is None:
        if round_weights is None and str(clip).startswith('MetaCLIP') and clip in CLIPS:
            round_weights = False
        return dict(quick_gelu=quick_gelu is not False, round_weights=round_weights)
    if kind == 'text' and spec.text_problem:
        raise InputError(spec.text_problem)
    options = dict(spec.image if kind == 'image' else spec.text)
    if quick_gelu not in (None, options['quick_gelu']):
        raise InputError(
            f'quick_gelu={quick_gelu} contradicts {spec.config} of {name}, '
            f'which states {options["quick_gelu"]}: leave quick_gelu out'
        )
    return {**options, 'round_weights': bool(round_weights)}
