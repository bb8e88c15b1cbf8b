"""Towers built from a checkpoint's tensors."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..old_names import warn_of
from ..utils.errors import InputError
from .layouts import Layout, StateDict, advise
from .normalisation import Normalisation
from .text import VOCABULARY, TextTower
from .vit import VisionTransformer

Tower = TypeVar('Tower', bound=nn.Module)

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Weights:
    """A checkpoint's tensors, accessed by this package's names.

    Attributes:
        tensors: The tensors by the file's names.
        layout: Mapping between both naming schemes.
        source: Name of the checkpoint for error messages.
    """

    tensors: StateDict
    layout: Layout
    source: str

    def __contains__(self, name: str) -> bool:
        return self.layout.has(name, self.tensors)

    def get(self, name: str, ndim: int = 0) -> Tensor:
        """Get a tensor with at least ``ndim`` dimensions.

        Raises:
            InputError: If the tensor is missing, is empty, or has fewer dimensions.
        """
        theirs = self.layout.name_of(name)
        if theirs not in self.tensors:
            raise InputError(f"{self.source} is not a complete checkpoint: it lacks '{theirs}'")
        tensor = self.tensors[theirs]
        if name == 'patch_embed.weight' and tensor.ndim == 2 and self.layout.flat_patches:
            side = math.isqrt(tensor.shape[1] // 3)
            if tensor.shape[1] == 3 * side**2:
                tensor = tensor.unflatten(1, (3, side, side))
        if tensor.ndim < ndim or not tensor.numel():
            expected = f'{ndim} dimensions' if tensor.numel() else 'elements'
            raise InputError(
                f'{self.source}: {theirs} is {tuple(tensor.shape)}, expected {expected}'
            )
        return tensor.T if name in self.layout.transposed else tensor

    def rows(self, name: str, width: int, ndim: int = 1) -> int:
        """Number of rows of a table; 0 if the table is optional and missing.

        Raises:
            InputError: See :meth:`get`.
        """
        optional = name in self.layout.optional
        absent = name not in self or not self.tensors[self.layout.name_of(name)].numel()
        if name not in self.layout.names or (optional and absent):
            return 0
        return self.get(name, ndim).numel() // width

    def depth(self) -> int:
        """Number of blocks.

        Raises:
            InputError: If a block in between is missing.
        """
        before, _, after = self.layout.block.partition('{}')
        pattern = re.compile(f'{re.escape(before)}([0-9]{{1,4}}){re.escape(after)}')
        numbers = {int(match.group(1)) for match in map(pattern.match, self.tensors) if match}
        missing = set(range(max(numbers, default=-1))) - numbers
        if missing:
            block = self.layout.block.format(min(missing))
            raise InputError(
                f'{self.source} is not a complete checkpoint of a ViT: it lacks the tensors '
                f"'{block}…', but has those of block {max(numbers)}"
            )
        return len(numbers)

    def proj(self) -> int | None:
        """Width of the joint embedding; None if the layout has no projection."""
        return self.get('proj', ndim=2).shape[1] if 'proj' in self.layout.names else None

    def normalisation(self) -> Normalisation:
        """Normalisation of the tower's images: from the file if stored there, else the layout's.

        Raises:
            InputError: If the file's values are not three per statistic, or a deviation is not
                larger than 0.
        """
        if 'mean' not in self or 'std' not in self:
            return self.layout.normalisation
        values = [self.get(name).flatten().tolist() for name in ('mean', 'std')]
        if [len(each) for each in values] != [3, 3] or not min(values[1]) > 0:
            raise InputError(
                f'{self.source}: {self.layout.name_of("mean")} and {self.layout.name_of("std")} '
                'must have three values, deviations larger than 0'
            )
        return Normalisation(*map(tuple, values))

    def check_square(self, patches: int) -> None:
        """Refuse positions that cannot be resampled to other grids.

        Raises:
            InputError: If the number of patches is not a square number.
        """
        if patches < 1 or math.isqrt(patches) ** 2 != patches:
            raise InputError(
                f'{self.source}: {self.layout.name_of("positions")} has {patches} positions of '
                'patches, not a square grid (CLIPs for re-identification have 16×8): use a CLIP '
                'that was trained on square images'
            )

    def fill(self, make: Callable[[], Tower]) -> Tower:
        """Build a module without random initialisation, and load the tensors into it.

        Args:
            make: Function that builds the module.

        Returns:
            The module: float32, frozen, in evaluation mode.

        Raises:
            InputError: If tensors are missing, unexpected, or have the wrong shape.
        """
        with torch.device('meta'):
            tower = make()
        weights = {}
        for name, expected in tower.state_dict().items():
            value, theirs = self.get(name), self.layout.name_of(name)
            if expected.is_floating_point():
                value = as_float(value, theirs, self.source)
            if value.squeeze().shape == expected.squeeze().shape:
                value = value.reshape(expected.shape)
            if value.shape != expected.shape:
                raise InputError(
                    f'{self.source}: {theirs} is {tuple(value.shape)}, expected '
                    f'{tuple(expected.shape)}'
                )
            weights[name] = value.contiguous()
        self._check_unexpected(weights)
        tower.load_state_dict(weights, assign=True)
        return tower.requires_grad_(False).eval()

    def _check_unexpected(self, used: StateDict) -> None:
        """Refuse a file with additional tensors of the tower, which would change its output."""
        elsewhere = *self.layout.optional, 'periods', 'mean', 'std'  # read elsewhere, or empty
        known = {*self.layout.ignored, *map(self.layout.name_of, (*used, *elsewhere))}
        keys = filter(lambda key: key.startswith(self.layout.prefix), self.tensors)
        if more := sorted({*keys} - known):
            raise InputError(
                f'{self.source} is not of a known family: it has {len(more)} '
                f'unexpected tensors, such as {more[0]}{advise(more)}'
            )


def _take_tensors(build: Callable[..., Tower]) -> Callable[..., Tower]:
    """Let a function take what :class:`Weights` holds in place of it, as it did before 0.3."""

    @wraps(build)
    def call(weights: Weights | StateDict, *others: Any, **options: Any) -> Tower:
        if not isinstance(weights, Weights):
            name = build.__name__
            warn_of(f'{name}(tensors, layout, source)', f'{name}(Weights(tensors, layout, source))')
            named = {key: options.pop(key) for key in ('layout', 'source') if key in options}
            weights, others = Weights(weights, *others, **named), ()
        return build(weights, *others, **options)

    return call


@_take_tensors
def build_image_tower(weights: Weights, **options: Any) -> VisionTransformer:
    """Build an image tower; its sizes are inferred from the tensors.

    Args:
        weights: A checkpoint's tensors, including the tower's.
        options: Arguments of the tower that cannot be inferred; ``width`` is compared with the
            tensors.

    Raises:
        InputError: If tensors are missing or have unexpected shapes.
    """
    layout = weights.layout
    options = {**layout.options, **options}
    gated = 'blocks.0.gate.weight' in weights
    if options.pop('gated', gated) != gated:
        raise InputError(
            f'use_swiglu_ffn or use_gated_mlp in the config of {weights.source} contradicts its '
            'weights'
        )
    width, _, patch_size, *_ = weights.get('patch_embed.weight', ndim=4).shape
    head = layout.head_widths.get(width, 64)
    if 'periods' in weights:
        periods = weights.get('periods', ndim=1).tolist()
        head = 4 * len(periods)
        options['rotary'] = options['rotary']._replace(periods=tuple(periods))
    options.setdefault('heads', max(width // head, 1))
    check_heads(width, options, weights.source)
    positions = weights.rows('positions', width, ndim=2)
    class_tokens = weights.rows('class_token', width)
    class_position = options.pop('class_position', class_tokens > 0)
    if 'positions' in layout.names:
        weights.check_square(positions - class_position)
    return weights.fill(
        lambda: VisionTransformer(
            width=width,
            depth=weights.depth(),
            hidden=len(weights.get('blocks.0.fc1.weight', ndim=2)),
            patch_size=patch_size,
            positions=positions,
            output_dim=weights.proj(),
            class_tokens=class_tokens,
            class_position=class_position,
            registers=weights.rows('registers', width),
            patch_bias='patch_embed.bias' in weights,
            final_norm='norm' in layout.names
            and ('norm' not in layout.optional or 'norm.weight' in weights),
            layer_scale='blocks.0.scale1' in weights,
            gated=gated,
            **options,
        )
    )


@_take_tensors
def build_text_tower(weights: Weights, **options: Any) -> TextTower:
    """Build a text tower; for the arguments see :func:`build_image_tower`.

    Raises:
        InputError: If the checkpoint has no text tower, or an incomplete one.
    """
    if 'token_embedding.weight' not in weights:
        raise InputError(
            f'{weights.source} has no text tower to encode the class names: use a complete CLIP, '
            'or set text_head.embeddings=FILE.npz (see tools/extract_text_embeddings.py)'
        )
    vocab_size, width = weights.get('token_embedding.weight', ndim=2).shape[-2:]
    if vocab_size != VOCABULARY:
        raise InputError(
            f'{weights.source}: {weights.layout.name_of("token_embedding.weight")} has '
            f"{vocab_size} rows instead of the {VOCABULARY} tokens of OpenAI's tokenizer: its text "
            'tower uses another tokenizer, set text_head.embeddings=FILE.npz'
        )
    options.setdefault('heads', max(width // 64, 1))
    check_heads(width, options, weights.source)
    return weights.fill(
        lambda: TextTower(
            context_length=weights.get('positions', ndim=2).shape[-2],
            vocab_size=vocab_size,
            width=width,
            depth=weights.depth(),
            hidden=len(weights.get('blocks.0.fc1.weight', ndim=2)),
            output_dim=weights.proj(),
            **options,
        )
    )


def check_heads(width: int, options: dict[str, Any], source: str) -> None:
    """Check that a config and a checkpoint fit together.

    Args:
        width: Channel width of the checkpoint's tower.
        options: The config's ``heads`` and optionally ``width``, which is removed.
        source: Name of the checkpoint for error messages.

    Raises:
        InputError: If the widths differ, or the number of heads does not divide the width.
    """
    stated, heads = options.pop('width', None), options['heads']
    if stated is None and width % heads:
        raise InputError(
            f'{source} has a width of {width}, which is not divisible by 64, the width of a head, '
            'and no config beside it states the number of heads'
        )
    if stated is not None and (stated != width or not heads or width % heads):
        raise InputError(
            f'the config of {source} states a width of {stated} and {heads} heads, '
            f'which do not match the width of its weights, {width}'
        )


def as_float(value: Tensor, name: str, source: str) -> Tensor:
    """Convert a tensor of a file to float32.

    Raises:
        InputError: If its dtype is not floating point, or it is empty or contains NaN or infinity.
    """
    if value.dtype not in _DTYPES:
        raise InputError(
            f'{source}: {name} has dtype {value.dtype}, which is not supported: save the weights '
            'in a floating dtype of 16 to 64 bits, not quantised'
        )
    if not value.numel():
        raise InputError(f'{source}: {name} is {tuple(value.shape)}, expected elements')
    value = value.float()
    if not all(extreme.isfinite() for extreme in value.aminmax()):  # in one pass, without a copy
        raise InputError(f'{source}: {name} contains NaN or infinity: use an undamaged checkpoint')
    return value
