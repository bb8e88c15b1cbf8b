"""A CLIP's name or path → its state dict in OpenAI's layout."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Dict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..utils.download import download
from ..utils.errors import InputError
from ..utils.files import find_file

StateDict = Dict[str, Tensor]

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
DOWNLOAD_ROOT = 'SCLIP_DOWNLOAD_ROOT'


def resolve_clip(clip: str) -> Path:
    """Return the checkpoint file behind a CLIP name or path, downloading OpenAI's if needed.

    Downloads go to ``$SCLIP_DOWNLOAD_ROOT``, by default ``~/.cache/clip`` as openai-clip's do.

    Raises:
        InputError: If ``clip`` is neither a known name nor a file, or if the download fails.
    """
    if clip in OPENAI_CLIP:
        sha256, filename = OPENAI_CLIP[clip]
        root = Path(os.environ.get(DOWNLOAD_ROOT) or '~/.cache/clip').expanduser()
        return download(openai_url(sha256, filename), root / filename, sha256)
    path = find_file(clip)
    if path:
        return path
    if str(clip).startswith('RN'):
        raise InputError(f"clip='{clip}' is a ResNet CLIP, which has no patch tokens: {_choices()}")
    raise InputError(f"clip='{clip}' is neither a file nor a CLIP by name: {_choices()}")


def openai_url(sha256: str, filename: str) -> str:
    """Where OpenAI publishes an archive."""
    return f'https://openaipublic.azureedge.net/clip/models/{sha256}/{filename}'


def _choices() -> str:
    return f'use one of {", ".join(OPENAI_CLIP)}, or the path of a ViT checkpoint'


def load_clip(clip: str) -> StateDict:
    """Load a CLIP with a ViT image tower.

    Args:
        clip: A name in :data:`OPENAI_CLIP`, or the path of OpenAI's TorchScript archive, of a state
            dict (``.pt``, ``.pth``) or of a ``.safetensors`` file, in the key layout of OpenAI,
            OpenCLIP or Hugging Face's ``CLIPModel``.

    Returns:
        State dict in OpenAI's layout (``visual.*`` and, where the checkpoint has a text tower,
        ``transformer.*`` and its neighbours), float32 on the CPU.

    Raises:
        InputError: If the file is missing, truncated, a ResNet CLIP or no CLIP at all.
    """
    path = resolve_clip(clip)
    state_dict = to_openai_layout(_read(path), str(path))
    return {key: value.float() for key, value in state_dict.items()}


def _read(path: Path) -> StateDict:
    """Read whatever state dict a file holds, running none of its code."""
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        if _is_torchscript(path):
            return dict(torch.jit.load(path, map_location='cpu').state_dict())
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{path} is no checkpoint, or holds more than tensors and is not loaded, since '
            'unpickling runs code. Save its state dict alone: torch.save(model.state_dict(), PATH)'
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f'{path} cannot be read as a checkpoint ({_first_line(error)}): it is truncated or '
            'of another format. Fetch it again'
        ) from error
    for key in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f'{path} holds a {type(content).__name__}, not a state dict of tensors')
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def to_openai_layout(state_dict: StateDict, source: str) -> StateDict:
    """Rename a CLIP's tensors to OpenAI's layout.

    Args:
        state_dict: In OpenAI's, OpenCLIP's or Hugging Face's layout, with or without the
            ``module.`` of a distributed training.
        source: What to call the checkpoint in an error message.

    Raises:
        InputError: If the keys are none of those layouts, or a ResNet CLIP's.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    if any(key.startswith(('visual.layer1.', 'visual.attnpool.')) for key in state_dict):
        raise InputError(f'{source} is a ResNet CLIP, which has no patch tokens: use a ViT CLIP')
    if 'vision_model.embeddings.patch_embedding.weight' in state_dict:
        try:
            return _from_hugging_face(state_dict)
        except KeyError as error:
            raise InputError(f'{source} is not a whole CLIPModel: it lacks {error}') from error
    if 'visual.conv1.weight' not in state_dict:
        keys = ', '.join(list(state_dict)[:3]) or 'no tensor at all'
        raise InputError(
            f"{source} is not a CLIP checkpoint with a ViT image tower: it has no 'visual.conv1."
            f"weight' but {keys}, …"
        )
    # OpenCLIP's CustomTextCLIP keeps the text tower below 'text.'.
    renamed = {key.removeprefix('text.'): value for key, value in state_dict.items()}
    # What OpenAI's archives and OpenCLIP's buffers hold besides weights.
    for key in ('input_resolution', 'context_length', 'vocab_size', 'attn_mask'):
        renamed.pop(key, None)
    return renamed


def _from_hugging_face(source: StateDict) -> StateDict:
    vision, target = 'vision_model.', {}
    target['visual.class_embedding'] = source[vision + 'embeddings.class_embedding'].flatten()
    target['visual.conv1.weight'] = source[vision + 'embeddings.patch_embedding.weight']
    target['visual.positional_embedding'] = source[vision + 'embeddings.position_embedding.weight']
    target['visual.proj'] = source['visual_projection.weight'].T
    for part in ('weight', 'bias'):
        # Hugging Face's own spelling.
        target[f'visual.ln_pre.{part}'] = source[f'{vision}pre_layrnorm.{part}']
        target[f'visual.ln_post.{part}'] = source[f'{vision}post_layernorm.{part}']
    target.update(_blocks_from_hugging_face(source, vision, 'visual.transformer.'))
    text = 'text_model.'
    if text + 'embeddings.token_embedding.weight' in source:
        target['token_embedding.weight'] = source[text + 'embeddings.token_embedding.weight']
        target['positional_embedding'] = source[text + 'embeddings.position_embedding.weight']
        target['text_projection'] = source['text_projection.weight'].T
        for part in ('weight', 'bias'):
            target[f'ln_final.{part}'] = source[f'{text}final_layer_norm.{part}']
        target.update(_blocks_from_hugging_face(source, text, 'transformer.'))
    if 'logit_scale' in source:
        target['logit_scale'] = source['logit_scale']
    return target


def _blocks_from_hugging_face(source: StateDict, prefix: str, tower: str) -> StateDict:
    renames = {
        'self_attn.out_proj': 'attn.out_proj',
        'layer_norm1': 'ln_1',
        'layer_norm2': 'ln_2',
        'mlp.fc1': 'mlp.c_fc',
        'mlp.fc2': 'mlp.c_proj',
    }
    target = {}
    layer = 0
    while f'{prefix}encoder.layers.{layer}.layer_norm1.weight' in source:
        old, new = f'{prefix}encoder.layers.{layer}.', f'{tower}resblocks.{layer}.'
        for part in ('weight', 'bias'):
            for their, our in renames.items():
                target[f'{new}{our}.{part}'] = source[f'{old}{their}.{part}']
            target[f'{new}attn.in_proj_{part}'] = torch.cat(
                [source[f'{old}self_attn.{name}_proj.{part}'] for name in 'qkv']
            )
        layer += 1
    return target
