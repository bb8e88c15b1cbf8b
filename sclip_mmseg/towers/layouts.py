"""Checkpoints' key layouts, each a table of this package's names and the file's."""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..utils.errors import InputError
from .text import TextTower
from .vit import VisionTransformer

StateDict = Dict[str, Tensor]

_SEPARATE = ('q_proj', 'k_proj', 'v_proj'), ('query', 'key', 'value')

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

    def get(self, name: str, found: StateDict, source: str) -> Tensor:
        """Take one of our tensors out of the file.

        Raises:
            InputError: If it is not there.
        """
        theirs = self.name_of(name)
        if theirs not in found:
            raise InputError(f"{source} is not a whole checkpoint of a ViT: it lacks '{theirs}'")
        return found[theirs].T if name in self.transposed else found[theirs]

    def depth(self, found: StateDict) -> int:
        """Number of blocks in the file."""
        number = 0
        while self.has(f'blocks.{number}.norm1.weight', found):
            number += 1
        return number


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
    prefix='transformer.',
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
    keys = ', '.join(list(found)[:3]) or 'no tensor at all'
    raise InputError(
        f"{source} is not a CLIP checkpoint with a ViT image tower: it has no 'visual.conv1."
        f"weight' but {keys}, …"
    )


def proxy_layout(found: StateDict) -> Layout:
    """Tell which layout a DINO or DINOv2 has; Meta's where none is known."""
    for layout in (HUGGING_FACE_DINOV2, HUGGING_FACE_DINO):
        if layout.has('blocks.0.norm1.weight', found):
            return layout
    return DINO


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
    width, _, patch_size, _ = layout.get('patch_embed.weight', found, source).shape
    options.setdefault('heads', max(width // _HEAD_WIDTHS.get(width, 64), 1))
    check_heads(width, options, source)
    proj = layout.get('proj', found, source) if 'proj' in layout.names else None
    registers = found[layout.name_of('registers')] if layout.has('registers', found) else None
    return fill(
        lambda: VisionTransformer(
            width=width,
            depth=layout.depth(found),
            hidden=len(layout.get('blocks.0.fc1.weight', found, source)),
            patch_size=patch_size,
            positions=layout.get('positions', found, source).shape[-2],
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
    vocab_size, width = layout.get('token_embedding.weight', found, source).shape
    options.setdefault('heads', max(width // 64, 1))
    check_heads(width, options, source)
    proj = layout.get('proj', found, source) if 'proj' in layout.names else None
    return fill(
        lambda: TextTower(
            context_length=len(layout.get('positions', found, source)),
            vocab_size=vocab_size,
            width=width,
            depth=layout.depth(found),
            hidden=len(layout.get('blocks.0.fc1.weight', found, source)),
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
    stated = options.pop('width', width)
    if stated != width or width % options['heads']:
        raise InputError(
            f'the config of {source} states a width of {stated} and {options["heads"]} heads, '
            f'which do not fit the width of its weights, {width}'
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
        value = layout.get(name, found, source).float()
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


def _check_unexpected(found: StateDict, used: set, layout: Layout, source: str) -> None:
    """Refuse a file whose tower has more than ours, which would compute something else."""
    known = used | set(layout.ignored)
    more = sorted(key for key in found if key.startswith(layout.prefix) and key not in known)
    if more:
        raise InputError(
            f'{source} has {len(more)} unexpected tensors, among them {more[0]}: it is no plain '
            'ViT of the families that are known'
        )
