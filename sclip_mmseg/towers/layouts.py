"""Key layouts of checkpoints: tables that map this package's tensor names to a file's."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..old_names import keep_old_names
from ..utils.errors import InputError, join_first
from .normalisation import CLIP, HALF, IMAGENET, Normalisation
from .positions import Resampling, Rotary

keep_old_names(
    __name__,
    build_image_tower='towers.building.build_image_tower',
    build_text_tower='towers.building.build_text_tower',
    check_heads='towers.building.check_heads',
)

StateDict = dict[str, Tensor]

_SEPARATE = ('q_proj', 'k_proj', 'v_proj'), ('query', 'key', 'value')

# Tensors that are not weights, or that the config sets; poolers and classifiers.
_HARMLESS = re.compile(
    r'(^|\.)(logit_(scale|bias)|attn_mask|position_ids|input_resolution|context_length|vocab_size|'
    r'mask_token|num_batches_tracked|(pooler|classifier|head|_heads|_feature_projections)\..*)$'
)
# Adapters and learned prompts, except for the prompt inputs of Segment Anything.
_CHANGES = re.compile(
    r'lora_|adapter|(?<!attend_)prompt(?!_(cross|encoder|layer|mlp|proj))|(^|\.)ctx$|\bia3_|'
    r'positional_embedding_res'
)


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints names the tensors of one tower.

    Attributes:
        names: Tensors outside the blocks: our name, with or without its last part → theirs.
        block: Prefix of their names of a block's tensors; ``{}`` stands for the block's number.
        parts: Tensors of a block: our name, with or without its last part → theirs.
        gated: Entries added to or replaced in ``parts`` for gated MLPs (SwiGLU).
        prefix: One or several prefixes that only names of this tower's tensors have.
        ignored: Their names of tensors that are not weights.
        transposed: Our names of tensors that they store transposed.
        optional: Our names of tensors that a file, and so the tower, may lack.
        options: Arguments of the tower.
        normalisation: Normalisation of images, unless the file has its own ``mean`` and ``std``.
        head_widths: Width of a tower → width of its heads, if not 64.
        flat_patches: Whether the patch embedding is stored as a matrix rather than a convolution.
        family: Name of the family in CorrCLIP v2's memory banks; empty if it has none.
    """

    names: Mapping[str, str]
    block: str
    parts: Mapping[str, str]
    prefix: str | tuple[str, ...]
    ignored: Sequence[str] = ()
    transposed: Sequence[str] = ()
    gated: Mapping[str, str] = field(default_factory=dict)
    optional: Sequence[str] = ('registers',)
    options: Mapping[str, Any] = field(default_factory=dict)
    normalisation: Normalisation = CLIP
    # OpenCLIP's ViT-H, g and bigG; RADIO's ViT-H has the width of OpenCLIP's.
    head_widths: Mapping[int, int] = field(default_factory={1280: 80, 1408: 88, 1664: 104}.copy)
    flat_patches: bool = False
    family: str = ''

    def name_of(self, name: str) -> str:
        """Their name of a tensor, given our name."""
        if not name.startswith('blocks.'):
            return _rename(name, self.names)
        _, number, part = name.split('.', 2)
        return self.block.format(number) + _rename(part, self.parts)

    def has(self, name: str, found: StateDict) -> bool:
        """Whether the file has a tensor, given our name."""
        return self.name_of(name) in found

    def owns(self, theirs: str) -> bool:
        """Whether one of their names belongs to this tower."""
        names = tuple(self.names.values())
        return theirs.startswith(self.prefix) or theirs.startswith(names) or theirs in self.ignored


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
#: CLIPs of OpenAI, OpenCLIP and MetaCLIP.
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

# Pre-norm blocks with exact GELU, and no norm before the first block.
_DINO_OPTIONS = dict(pre_norm=False, quick_gelu=False, eps=1e-6)
_DINO_GATED = {'gate': 'mlp.w1', 'fc1': 'mlp.w2', 'fc2': 'mlp.w3'}  # see join_projections
_DINO_PARTS = {
    'norm1': 'norm1',
    'qkv': 'attn.qkv',
    'out': 'attn.proj',
    'scale1': 'ls1.gamma',
    'norm2': 'norm2',
    'fc1': 'mlp.fc1',
    'fc2': 'mlp.fc2',
    'scale2': 'ls2.gamma',
}
#: DINO and DINOv2 backbones as published by Meta.
DINO = Layout(
    names={
        'class_token': 'cls_token',
        'registers': 'register_tokens',
        'patch_embed': 'patch_embed.proj',
        'positions': 'pos_embed',
        'norm': 'norm',
    },
    block='blocks.{}.',
    parts=_DINO_PARTS,
    gated=_DINO_GATED,
    prefix='',
    ignored=('mask_token',),
    options=_DINO_OPTIONS,
    normalisation=IMAGENET,
    family='dinov2',
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
_transformers_layout = partial(
    Layout,
    names=_TRANSFORMERS_NAMES,
    block='encoder.layer.{}.',
    prefix=('embeddings.', 'encoder.', 'layernorm.'),  # not the pooler, nor a classifier
    ignored=('embeddings.mask_token',),
    options=_DINO_OPTIONS,
    normalisation=IMAGENET,
)
#: DINO as Hugging Face's ``ViTModel``.
HUGGING_FACE_DINO = _transformers_layout(
    parts={
        **_TRANSFORMERS_ATTENTION,
        'norm1': 'layernorm_before',
        'norm2': 'layernorm_after',
        'fc1': 'intermediate.dense',
        'fc2': 'output.dense',
    },
)
#: DINOv2 as Hugging Face's ``Dinov2Model`` and ``Dinov2WithRegistersModel``.
HUGGING_FACE_DINOV2 = _transformers_layout(
    parts={
        **_TRANSFORMERS_ATTENTION,
        'scale1': 'layer_scale1.lambda1',
        'fc1': 'mlp.fc1',
        'fc2': 'mlp.fc2',
        'scale2': 'layer_scale2.lambda1',
    },
    gated={'gate': 'mlp.w1', 'fc1': 'mlp.w2', 'fc2': 'mlp.weights_out'},  # see join_projections
    family='dinov2',
)


_DINOV3_OPTIONS = dict(_DINO_OPTIONS, eps=1e-5, rotary=Rotary(base=100.0))
#: DINOv3 backbones as published by Meta.
DINOV3 = Layout(
    names={
        'class_token': 'cls_token',
        'registers': 'storage_tokens',
        'patch_embed': 'patch_embed.proj',
        'periods': 'rope_embed.periods',
        'norm': 'norm',
    },
    block='blocks.{}.',
    parts=_DINO_PARTS,
    gated=_DINO_GATED,
    prefix='',
    # The separate norm of the class token is only used in training, for local crops.
    ignored=('mask_token', 'local_cls_norm.weight', 'local_cls_norm.bias'),
    options=_DINOV3_OPTIONS,
    normalisation=IMAGENET,
    family='dinov3',
)
#: DINOv3 with timm's names, without periods and biases of queries, keys and values.
TIMM_DINOV3 = replace(
    DINOV3,
    names={
        **{ours: theirs for ours, theirs in DINOV3.names.items() if ours != 'periods'},
        'registers': 'reg_token',
    },
    parts={**_DINO_PARTS, 'scale1': 'gamma_1', 'scale2': 'gamma_2'},
)
#: DINOv3 as Hugging Face's ``DINOv3ViTModel``.
HUGGING_FACE_DINOV3 = Layout(
    names={
        'class_token': 'embeddings.cls_token',
        'registers': 'embeddings.register_tokens',
        'patch_embed': 'embeddings.patch_embeddings',
        'norm': 'norm',
    },
    block='layer.{}.',
    parts={
        'norm1': 'norm1',
        'qkv': 'attention.qkv_proj',  # see join_projections
        'out': 'attention.o_proj',
        'scale1': 'layer_scale1.lambda1',
        'norm2': 'norm2',
        'fc1': 'mlp.up_proj',
        'fc2': 'mlp.down_proj',
        'scale2': 'layer_scale2.lambda1',
    },
    gated={'gate': 'mlp.gate_proj'},
    prefix=('embeddings.', 'layer.', 'model.layer.', 'norm.'),
    ignored=('embeddings.mask_token',),
    options=_DINOV3_OPTIONS,
    normalisation=IMAGENET,
    family='dinov3',
)

_CONDITIONER = {'mean': 'input_conditioner.norm_mean', 'std': 'input_conditioner.norm_std'}
_radio_layout = partial(
    Layout,
    family='radiov3',
    flat_patches=True,
    gated={'gate': 'mlp.gate_proj', 'fc1': 'mlp.up_proj', 'fc2': 'mlp.down_proj'},
    optional=('norm', *_CONDITIONER),
    options=dict(
        _DINO_OPTIONS,
        class_position=False,
        resampling=Resampling(offset=None, mode='bilinear', crop=True),
    ),
)
#: RADIO and C-RADIO as published by NVIDIA. One table holds the class tokens, one per teacher, and
#: the registers.
RADIO = _radio_layout(
    names={
        'class_token': 'base_model.patch_generator.cls_token.token',
        'patch_embed': 'base_model.patch_generator.embedder',
        'positions': 'base_model.patch_generator.pos_embed',
        'norm': 'base_model.norm',
        **_CONDITIONER,
    },
    block='base_model.blocks.{}.',
    parts=_DINO_PARTS,
    prefix=('base_model.', '_feature_normalizer.'),
)
#: RADIO with the names in NVIDIA's repositories on the Hub, which contain their own code.
RADIO_OF_THE_HUB = replace(
    RADIO,
    names={
        ours: theirs.replace('base_model.', 'radio_model.model.', 1)
        if theirs.startswith('base_model.')
        else f'radio_model.{theirs}'
        for ours, theirs in RADIO.names.items()
    },
    block='radio_model.model.blocks.{}.',
    parts={**_DINO_PARTS, 'scale1': 'layer_scale1.lambda1', 'scale2': 'layer_scale2.lambda1'},
    prefix=('radio_model.model.', 'radio_model.feature_normalizer.'),
    ignored=('radio_model.summary_idxs',),
)
#: RADIO as Hugging Face's ``RadioModel``.
HUGGING_FACE_RADIO = _radio_layout(
    names={
        'class_token': 'embeddings.cls_register_token',
        'patch_embed': 'embeddings.patch_projection',
        'positions': 'embeddings.position_embedding',
        **_CONDITIONER,
    },
    block='encoder.layer.{}.',
    parts={**HUGGING_FACE_DINOV3.parts, 'fc1': 'mlp.fc1', 'fc2': 'mlp.fc2'},
    prefix=('embeddings.', 'encoder.'),
    ignored=('embeddings.video_patch_projection.weight',),
)

#: The spatial towers of the Perception Encoder as published by Meta.
PE_SPATIAL = Layout(
    names={
        'class_token': 'class_embedding',
        'patch_embed': 'conv1',
        'positions': 'positional_embedding',
        'norm_pre': 'ln_pre',
    },
    block='transformer.resblocks.{}.',
    parts={**OPENAI_PARTS, 'scale1': 'ls_1.gamma', 'scale2': 'ls_2.gamma'},
    prefix='',
    optional=('class_token',),
    options=dict(
        quick_gelu=False,
        resampling=Resampling(offset=None, mode='bilinear'),
        rotary=Rotary(base=10000.0, relative=False),
    ),
    normalisation=HALF,
    head_widths={1536: 96},
    family='pe',
)

#: Layouts of second towers, each with a tensor that identifies it; the first match counts.
_SECOND_TOWERS = (
    ('class_token', HUGGING_FACE_RADIO),
    ('blocks.0.scale1', HUGGING_FACE_DINOV2),
    ('blocks.0.norm1.weight', HUGGING_FACE_DINO),
    ('blocks.0.qkv.weight', HUGGING_FACE_DINOV3),
    ('blocks.0.qkv.weight', replace(HUGGING_FACE_DINOV3, block='model.layer.{}.')),
    ('class_token', RADIO),
    ('class_token', RADIO_OF_THE_HUB),
    ('periods', DINOV3),
    ('blocks.0.scale1', TIMM_DINOV3),
    ('patch_embed.weight', DINO),
    ('norm_pre.weight', PE_SPATIAL),
)


#: Prefixes of tensor names of unsupported CLIPs.
_OTHER_CLIPS = {
    ('visual.layer1.', 'visual.attnpool.'): 'a ResNet CLIP, which has no patch tokens',
    ('vision_model.head.',): 'a SigLIP, whose attention pooling is not supported',
    ('visual.blocks.',): 'an EVA-CLIP, which is not supported',
    ('visual.attn_pool.',): 'a CLIP or PE-Core with attention pooling, which is not supported',
}


def clip_layouts(found: StateDict, source: str) -> tuple[Layout, Layout]:
    """Determine the layouts of a CLIP's image tower and text tower.

    Raises:
        InputError: If the file is not a CLIP with a ViT image tower.
    """
    for names, kind in _OTHER_CLIPS.items():
        if any(key.startswith(names) for key in found):
            raise InputError(f'{source} is {kind}: use a ViT CLIP')
    if HUGGING_FACE_IMAGE.has('patch_embed.weight', found):
        return HUGGING_FACE_IMAGE, HUGGING_FACE_TEXT
    if OPENAI_IMAGE.has('patch_embed.weight', found):
        return OPENAI_IMAGE, OPENAI_TEXT
    inner = [key for key in found if key.endswith('.visual.conv1.weight')]
    if inner:
        prefix = inner[0].removesuffix('visual.conv1.weight')
        raise InputError(
            f"{source} contains a CLIP inside a larger model: it has the tensor '{inner[0]}'. Save "
            f"only the CLIP's tensors, without '{prefix}' before their names"
        )
    raise InputError(
        f"{source} is not a CLIP checkpoint with a ViT image tower: it lacks 'visual.conv1."
        f"weight', but has {_first_names(found)}"
    )


def proxy_layout(found: StateDict, source: str) -> Layout:
    """Determine the layout of a second tower.

    Args:
        found: The file's tensors, after :func:`join_projections`.
        source: Name of the file for error messages.

    Raises:
        InputError: If the layout is unknown.
    """
    for name, layout in _SECOND_TOWERS:
        gated = replace(layout, parts={**layout.parts, **layout.gated})
        if layout.has(name, found):
            return gated if gated.has('blocks.0.gate.weight', found) else layout
    raise InputError(
        f'{source} is not a supported DINO, DINOv2, DINOv3, RADIO or PE-Spatial: it lacks '
        f"'patch_embed.proj.weight', but has {_first_names(found)}"
    )


def _first_names(found: StateDict) -> str:
    names = list(found)
    return f'{", ".join(names[:3]) or "no tensors"}, …{advise(names)}'


def join_projections(found: StateDict) -> StateDict:
    """Stack separate query, key and value projections, and split the joined layers of gated MLPs.

    Biases that a mask disables (DINOv3) become zero.
    """
    joined = dict(found)
    for key in found:
        for name in ('.mlp.w12.', '.mlp.weights_in.'):
            before, middle, part = key.partition(name)
            if middle:
                gate, fc1 = joined.pop(key).chunk(2)
                joined.update({f'{before}.mlp.w1.{part}': gate, f'{before}.mlp.w2.{part}': fc1})
        for names in _SEPARATE:
            prefix, middle, part = key.partition(f'.{names[0]}.')
            parts = [f'{prefix}.{name}.{part}' for name in names]
            if middle and part == 'bias' and parts[1] not in found:  # DINOv3's keys have none
                joined[parts[1]] = torch.zeros_like(found[key])
            if middle and all(name in joined for name in parts):
                joined[f'{prefix}.qkv_proj.{part}'] = torch.cat([joined.pop(p) for p in parts])
        block, middle, _ = key.partition('attn.qkv.weight')
        if middle and f'{block}gamma_1' in found:  # timm's DINOv3
            joined.setdefault(f'{block}attn.qkv.bias', torch.zeros(len(found[key])))
        bias = key.removesuffix('_mask')
        if key.endswith('.qkv.bias_mask') and bias in found:
            mask = joined.pop(key)
            if mask.shape == found[bias].shape:
                joined[bias] = (found[bias] * mask).masked_fill(mask == 0, 0)
    return joined


def check_unread(rest: Iterable[str], source: str) -> None:
    """Warn about unused tensors of a file, and refuse adapters and learned prompts.

    Args:
        rest: Names of the unused tensors.
        source: Name of the file for messages.

    Raises:
        InputError: If there are adapters or learned prompts, which would change the results.
    """
    rest = [key for key in rest if not _HARMLESS.search(key)]
    names = join_first(rest)
    if advice := advise(rest):
        raise InputError(f'{source} has unused tensors, {names}{advice}')
    if rest:
        _warn_once(f'{source} has {len(rest)} unused tensors: {names}')


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    print_log(message, 'current', logging.WARNING)


def advise(keys: Sequence[str]) -> str:
    """Advice if some tensors are adapters or learned prompts; otherwise empty."""
    if not any(map(_CHANGES.search, keys)):
        return ''
    return (
        ', which change the results: merge adapters (LoRA: merge_and_unload) or learned prompts '
        'into the weights, and save those'
    )
