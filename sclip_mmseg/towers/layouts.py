"""Checkpoints' key layouts, each a table of this package's names and the file's."""

import logging
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Callable, Dict, Iterable, Mapping, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..utils.errors import InputError, join_first
from .text import TextTower
from .vit import VisionTransformer

StateDict = Dict[str, Tensor]

_SEPARATE = ('q_proj', 'k_proj', 'v_proj'), ('query', 'key', 'value')

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
VOCABULARY = 49408  # tokens of OpenAI's tokenizer

# Tensors that are no weights, or of which the configs decide; poolers and classifiers.
_HARMLESS = re.compile(
    r'(^|\.)(logit_(scale|bias)|attn_mask|position_ids|input_resolution|context_length|vocab_size|'
    r'mask_token|num_batches_tracked|(pooler|classifier|head)\..*)$'
)
_CHANGES = re.compile(r'lora_|adapter|prompt|(^|\.)ctx$|\bia3_|positional_embedding_res')

# Width of an image tower → width of its heads, where this is not 64: OpenCLIP's ViT-H, g and bigG.
_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints names one tower's tensors.

    Attributes:
        names: Tensors outside the blocks: our name, with or without its last part → theirs.
        block: What their names of a block's tensors begin with, ``{}`` standing for its number.
        parts: Tensors of a block: our name, with or without its last part → theirs.
        prefix: What the names of all tensors that belong to the tower alone begin with, one or
            several.
        ignored: Names of those that are no weights.
        transposed: Our names of tensors that they store transposed.
        options: Arguments of the tower.
    """

    names: Mapping[str, str]
    block: str
    parts: Mapping[str, str]
    prefix: Union[str, Tuple[str, ...]]
    ignored: Sequence[str] = ()
    transposed: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def name_of(self, name: str) -> str:
        """Their name of one of our tensors."""
        if not name.startswith('blocks.'):
            return _rename(name, self.names)
        _, number, part = name.split('.', 2)
        return self.block.format(number) + _rename(part, self.parts)

    def has(self, name: str, found: StateDict) -> bool:
        """Whether the file has one of our tensors."""
        return self.name_of(name) in found

    def get(self, name: str, found: StateDict, source: str, ndim: int = 0) -> Tensor:
        """Take one of our tensors out of the file.

        Args:
            name: Ours.
            found: The file's tensors.
            source: What to call the file in an error message.
            ndim: Least number of dimensions.

        Raises:
            InputError: If it is not there, or has no elements, or fewer dimensions.
        """
        theirs = self.name_of(name)
        if theirs not in found:
            raise InputError(f"{source} is not a whole checkpoint of a ViT: it lacks '{theirs}'")
        tensor = found[theirs]
        if tensor.ndim < ndim or not tensor.numel():
            expected = f'{ndim} dimensions' if tensor.numel() else 'elements'
            raise InputError(f'{source}: {theirs} is {tuple(tensor.shape)}, expected {expected}')
        return tensor.T if name in self.transposed else tensor

    def owns(self, theirs: str) -> bool:
        """Whether a name of theirs is one of this tower's."""
        names = tuple(self.names.values())
        return theirs.startswith(self.prefix) or theirs.startswith(names)

    def depth(self, found: StateDict, source: str) -> int:
        """Number of blocks in the file.

        Raises:
            InputError: If one is missing among them.
        """
        before, _, after = self.block.partition('{}')
        pattern = re.compile(f'{re.escape(before)}([0-9]{{1,4}}){re.escape(after)}')
        numbers = {int(match.group(1)) for match in map(pattern.match, found) if match}
        missing = set(range(max(numbers, default=-1))) - numbers
        if missing:
            block = self.block.format(min(missing))
            raise InputError(
                f'{source} is not a whole checkpoint of a ViT: it lacks the tensors '
                f"'{block}…', but has those of block {max(numbers)}"
            )
        return len(numbers)


def _rename(name: str, table: Mapping[str, str]) -> str:
    if name in table:
        return table[name]
    stem, _, last = name.rpartition('.')
    return f'{table.get(stem, stem)}.{last}'


OPENAI_PARTS = {
    'norm1': 'ln_1',
    'qkv.weight': 'attn.in_proj_weight',
    'qkv.bias': 'attn.in_proj_bias',
    'out': 'attn.out_proj',
    'norm2': 'ln_2',
    'fc1': 'mlp.c_fc',
    'fc2': 'mlp.c_proj',
}
#: OpenAI's CLIPs, OpenCLIP's and MetaCLIP's.
OPENAI_IMAGE = Layout(
    names={
        'class_token': 'visual.class_embedding',
        'patch_embed': 'visual.conv1',
        'positions': 'visual.positional_embedding',
        'norm_pre': 'visual.ln_pre',
        'norm': 'visual.ln_post',
        'proj': 'visual.proj',
    },
    block='visual.transformer.resblocks.{}.',
    parts=OPENAI_PARTS,
    prefix='visual.',
)
OPENAI_TEXT = Layout(
    names={
        'token_embedding': 'token_embedding',
        'positions': 'positional_embedding',
        'norm': 'ln_final',
        'proj': 'text_projection',
    },
    block='transformer.resblocks.{}.',
    parts=OPENAI_PARTS,
    prefix=('transformer.', 'token_embedding', 'positional_embedding', 'ln_final.', 'text_proj'),
)

HUGGING_FACE_PARTS = {
    'norm1': 'layer_norm1',
    'qkv': 'self_attn.qkv_proj',  # see join_projections
    'out': 'self_attn.out_proj',
    'norm2': 'layer_norm2',
    'fc1': 'mlp.fc1',
    'fc2': 'mlp.fc2',
}
#: Hugging Face's ``CLIPModel``.
HUGGING_FACE_IMAGE = Layout(
    names={
        'class_token': 'vision_model.embeddings.class_embedding',
        'patch_embed': 'vision_model.embeddings.patch_embedding',
        'positions': 'vision_model.embeddings.position_embedding.weight',
        'norm_pre': 'vision_model.pre_layrnorm',  # their spelling
        'norm': 'vision_model.post_layernorm',
        'proj': 'visual_projection.weight',
    },
    block='vision_model.encoder.layers.{}.',
    parts=HUGGING_FACE_PARTS,
    prefix='vision_model.',
    ignored=('vision_model.embeddings.position_ids',),
    transposed=('proj',),
)
HUGGING_FACE_TEXT = Layout(
    names={
        'token_embedding': 'text_model.embeddings.token_embedding',
        'positions': 'text_model.embeddings.position_embedding.weight',
        'norm': 'text_model.final_layer_norm',
        'proj': 'text_projection.weight',
    },
    block='text_model.encoder.layers.{}.',
    parts=HUGGING_FACE_PARTS,
    prefix='text_model.',
    ignored=('text_model.embeddings.position_ids',),
    transposed=('proj',),
)

_DINO_OPTIONS = dict(pre_norm=False, quick_gelu=False, eps=1e-6)
#: DINO and DINOv2, as Meta publishes their backbones.
DINO = Layout(
    names={
        'class_token': 'cls_token',
        'registers': 'register_tokens',
        'patch_embed': 'patch_embed.proj',
        'positions': 'pos_embed',
        'norm': 'norm',
    },
    block='blocks.{}.',
    parts={
        'norm1': 'norm1',
        'qkv': 'attn.qkv',
        'out': 'attn.proj',
        'scale1': 'ls1.gamma',
        'norm2': 'norm2',
        'fc1': 'mlp.fc1',
        'fc2': 'mlp.fc2',
        'scale2': 'ls2.gamma',
    },
    prefix='',
    ignored=('mask_token',),
    options=_DINO_OPTIONS,
)

_TRANSFORMERS_NAMES = {
    'class_token': 'embeddings.cls_token',
    'registers': 'embeddings.register_tokens',
    'patch_embed': 'embeddings.patch_embeddings.projection',
    'positions': 'embeddings.position_embeddings',
    'norm': 'layernorm',
}
_TRANSFORMERS_ATTENTION = {
    'qkv': 'attention.attention.qkv_proj',  # see join_projections
    'out': 'attention.output.dense',
}
_TRANSFORMERS_REST = dict(
    names=_TRANSFORMERS_NAMES,
    block='encoder.layer.{}.',
    prefix=('embeddings.', 'encoder.', 'layernorm.'),  # not the pooler, nor a classifier
    ignored=('embeddings.mask_token',),
    options=_DINO_OPTIONS,
)
#: DINO as Hugging Face's ``ViTModel``.
HUGGING_FACE_DINO = Layout(
    parts={
        **_TRANSFORMERS_ATTENTION,
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'fc1': 'intermediate.dense',
        'fc2': 'output.dense',
    },
    **_TRANSFORMERS_REST,
)
#: DINOv2 as Hugging Face's ``Dinov2Model`` and ``Dinov2WithRegistersModel``.
HUGGING_FACE_DINOV2 = Layout(
    parts={
        **_TRANSFORMERS_ATTENTION,
        'scale1': 'layer_scale1.lambda1',
        'fc1': 'mlp.fc1',
        'fc2': 'mlp.fc2',
        'scale2': 'layer_scale2.lambda1',
    },
    **_TRANSFORMERS_REST,
)


def clip_layouts(found: StateDict, source: str) -> Tuple[Layout, Layout]:
    """Tell which layouts a CLIP's image and text tower have.

    Raises:
        InputError: If the file is none of a CLIP with a ViT image tower.
    """
    if any(key.startswith(('visual.layer1.', 'visual.attnpool.')) for key in found):
        raise InputError(f'{source} is a ResNet CLIP, which has no patch tokens: use a ViT CLIP')
    if HUGGING_FACE_IMAGE.has('patch_embed.weight', found):
        return HUGGING_FACE_IMAGE, HUGGING_FACE_TEXT
    if OPENAI_IMAGE.has('patch_embed.weight', found):
        return OPENAI_IMAGE, OPENAI_TEXT
    inner = [key for key in found if key.endswith('.visual.conv1.weight')]
    if inner:
        raise InputError(
            f"{source} is not a CLIP alone: its tensors are such as '{inner[0]}', save those that "
            "begin so, from 'visual.' on"
        )
    raise InputError(
        f"{source} is not a CLIP checkpoint with a ViT image tower: it has no 'visual.conv1."
        f"weight' but {_first_names(found)}"
    )


def proxy_layout(found: StateDict, source: str) -> Layout:
    """Tell which layout a DINO or DINOv2 has.

    Raises:
        InputError: If it is none.
    """
    for layout in (HUGGING_FACE_DINOV2, HUGGING_FACE_DINO):
        if layout.has('blocks.0.norm1.weight', found):
            return layout
    if DINO.has('patch_embed.weight', found):
        return DINO
    raise InputError(
        f"{source} is not a DINO or DINOv2 that is known: it lacks 'patch_embed.proj.weight', but "
        f'has {_first_names(found)}'
    )


def _first_names(found: StateDict) -> str:
    names = list(found)
    return f'{", ".join(names[:3]) or "no tensor at all"}, …{_advise(names)}'


def join_projections(found: StateDict) -> StateDict:
    """Stack Hugging Face's separate query, key and value projections."""
    joined = dict(found)
    for key in found:
        for names in _SEPARATE:
            prefix, middle, part = key.partition(f'.{names[0]}.')
            parts = [f'{prefix}.{name}.{part}' for name in names]
            if middle and all(name in found for name in parts):
                joined[f'{prefix}.qkv_proj.{part}'] = torch.cat([joined.pop(p) for p in parts])
    return joined


def build_image_tower(
    found: StateDict, layout: Layout, source: str, **options
) -> VisionTransformer:
    """Build the image tower whose sizes the tensors tell.

    Args:
        found: A checkpoint's tensors, among them the tower's.
        layout: How they are named.
        source: What to call the checkpoint in an error message.
        options: Arguments of the tower that its tensors do not tell; a ``width`` is compared with
            theirs.

    Raises:
        InputError: If tensors are missing or of unexpected shape.
    """
    width, _, patch_size, *_ = layout.get('patch_embed.weight', found, source, ndim=4).shape
    options.setdefault('heads', max(width // _HEAD_WIDTHS.get(width, 64), 1))
    check_heads(width, options, source)
    positions = layout.get('positions', found, source, ndim=2).shape[-2]
    check_square(positions - 1, layout, source)
    proj = layout.get('proj', found, source, ndim=2) if 'proj' in layout.names else None
    registers = found[layout.name_of('registers')] if layout.has('registers', found) else None
    return fill(
        lambda: VisionTransformer(
            width=width,
            depth=layout.depth(found, source),
            hidden=len(layout.get('blocks.0.fc1.weight', found, source, ndim=2)),
            patch_size=patch_size,
            positions=positions,
            output_dim=None if proj is None else proj.shape[1],
            registers=0 if registers is None else registers.shape[-2],
            patch_bias=layout.has('patch_embed.bias', found),
            layer_scale=layout.has('blocks.0.scale1', found),
            **{**layout.options, **options},
        ),
        found,
        layout,
        source,
    )


def build_text_tower(found: StateDict, layout: Layout, source: str, **options) -> TextTower:
    """Build the text tower; arguments as :func:`build_image_tower`.

    Raises:
        InputError: If the checkpoint has no text tower, or not a whole one.
    """
    if not layout.has('token_embedding.weight', found):
        raise InputError(
            f'{source} has no text tower to encode the class names: use a whole CLIP, or give '
            'text_head.embeddings=FILE.npz (see tools/extract_text_embeddings.py)'
        )
    vocab_size, width = layout.get('token_embedding.weight', found, source, ndim=2).shape[-2:]
    if vocab_size != VOCABULARY:
        raise InputError(
            f'{source}: {layout.name_of("token_embedding.weight")} has {vocab_size} rows, not one '
            f"per token of OpenAI's tokenizer, {VOCABULARY}: its text tower is of another one, "
            'give text_head.embeddings=FILE.npz'
        )
    options.setdefault('heads', max(width // 64, 1))
    check_heads(width, options, source)
    proj = layout.get('proj', found, source, ndim=2) if 'proj' in layout.names else None
    return fill(
        lambda: TextTower(
            context_length=layout.get('positions', found, source, ndim=2).shape[-2],
            vocab_size=vocab_size,
            width=width,
            depth=layout.depth(found, source),
            hidden=len(layout.get('blocks.0.fc1.weight', found, source, ndim=2)),
            output_dim=None if proj is None else proj.shape[1],
            **options,
        ),
        found,
        layout,
        source,
    )


def check_heads(width: int, options: Dict[str, Any], source: str) -> None:
    """Refuse a config of another checkpoint.

    Args:
        width: Of the checkpoint's tower.
        options: Of the config: ``heads``, and optionally ``width``, which is taken out.
        source: What to call the checkpoint in an error message.

    Raises:
        InputError: If the checkpoint's tower has another width, or the heads do not divide it.
    """
    stated, heads = options.pop('width', None), options['heads']
    if stated is None and width % heads:
        raise InputError(
            f'{source} is {width} wide, which does not divide into heads of 64, and no config '
            'beside it states their number'
        )
    if stated is not None and (stated != width or not heads or width % heads):
        raise InputError(
            f'the config of {source} states a width of {stated} and {heads} heads, '
            f'which do not fit the width of its weights, {width}'
        )


def check_square(patches: int, layout: Layout, source: str) -> None:
    """Refuse positions that cannot be resampled to other grids.

    Raises:
        InputError: If the number of patches is not that of a square grid.
    """
    if patches < 1 or math.isqrt(patches) ** 2 != patches:
        raise InputError(
            f'{source}: {layout.name_of("positions")} has {patches} positions of patches, which '
            'are no square grid (CLIPs for re-identification have 16×8): use a CLIP that was '
            'trained on square images'
        )


def fill(make: Callable[[], nn.Module], found: StateDict, layout: Layout, source: str) -> nn.Module:
    """Build a module without a random initialisation, and give it a file's tensors.

    Args:
        make: Builds the module.
        found: The file's tensors.
        layout: How they are named.
        source: What to call the checkpoint in an error message.

    Returns:
        The module, float32, frozen.

    Raises:
        InputError: If tensors are missing, unexpected or of another shape.
    """
    with torch.device('meta'):
        tower = make()
    weights = {}
    for name, expected in tower.state_dict().items():
        value = _as_float(layout.get(name, found, source), expected, layout.name_of(name), source)
        if value.squeeze().shape == expected.squeeze().shape:
            value = value.reshape(expected.shape)
        if value.shape != expected.shape:
            raise InputError(
                f'{source}: {layout.name_of(name)} is {tuple(value.shape)}, expected '
                f'{tuple(expected.shape)}'
            )
        weights[name] = value.contiguous()
    _check_unexpected(found, {layout.name_of(name) for name in weights}, layout, source)
    tower.load_state_dict(weights, assign=True)
    return tower.requires_grad_(False).eval()


def _as_float(value: Tensor, expected: Tensor, name: str, source: str) -> Tensor:
    """A tensor of the file in float32; refuse what that would falsify."""
    if expected.is_floating_point() and value.dtype not in _DTYPES:
        raise InputError(
            f'{source}: {name} is of {value.dtype}, which is not read: save the weights in a '
            'floating dtype of 16 to 64 bits, not quantised'
        )
    value = value.float()
    if not value.isfinite().all():
        raise InputError(f'{source}: {name} holds NaN or infinity: use an undamaged checkpoint')
    return value


def _check_unexpected(found: StateDict, used: set, layout: Layout, source: str) -> None:
    """Refuse a file whose tower has more than ours, which would compute something else."""
    known = used | set(layout.ignored)
    more = sorted(key for key in found if key.startswith(layout.prefix) and key not in known)
    if more:
        raise InputError(
            f'{source} has {len(more)} unexpected tensors, among them {more[0]}: it is no plain '
            f'ViT of the families that are known{_advise(more)}'
        )


def check_unread(rest: Iterable[str], source: str) -> None:
    """Say which of a file's tensors are not read, and refuse those that change the others' use.

    Args:
        rest: Names of the tensors that are not read.
        source: What to call the file.

    Raises:
        InputError: If there are adapters or learned prompts.
    """
    rest = [key for key in rest if not _HARMLESS.search(key)]
    names = join_first(rest)
    if advice := _advise(rest):
        raise InputError(f'{source} has tensors that are not read, {names}{advice}')
    if rest:
        _warn_once(f'{source} has {len(rest)} tensors that are not read: {names}')


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    print_log(message, 'current', logging.WARNING)


def _advise(keys: Sequence[str]) -> str:
    """What to do about tensors that change a network."""
    if not any(map(_CHANGES.search, keys)):
        return ''
    return (
        ', but change what the others compute: merge adapters (LoRA: merge_and_unload) or '
        'learned prompts into its weights, and save those'
    )
