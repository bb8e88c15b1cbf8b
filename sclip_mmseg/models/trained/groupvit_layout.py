"""Loads GroupViT's networks from the authors' and Hugging Face's checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from ...towers import Layout, TextTower, build_text_tower, read_tensors
from ...towers.building import Weights, check_heads
from ...towers.layouts import (
    HUGGING_FACE_PARTS,
    HUGGING_FACE_TEXT,
    OPENAI_PARTS,
    StateDict,
    check_unread,
    join_projections,
)
from ...utils.errors import InputError
from .groupvit_network import GroupViTNetwork, StageSizes


@dataclass(frozen=True)
class Family:
    """Tensor names of a family of GroupViT files; mappings as in :class:`...towers.Layout`.

    Attributes:
        prefix: Prefix of the image network's tensors.
        stage: Prefix of a stage's tensors, with ``{}`` for its number.
        block: Prefix of a block within a stage, likewise.
        names: Names in the image network outside the stages.
        parts: Names in a block.
        grouping: Names in a grouping.
        projectors: Prefixes of the image and the text projector, by ``image`` and ``text``.
        layers: Names of a projector's linear layer, normalisation and second linear layer.
        text: Layout of the text tower.
    """

    prefix: str
    stage: str
    block: str
    names: Mapping[str, str]
    parts: Mapping[str, str]
    grouping: Mapping[str, str]
    projectors: Mapping[str, str]
    layers: Mapping[str, str]
    text: Layout


_SCALE = 'multi_label_logit_scale'  # used by a training loss only
# A stage's group tokens; both families use the same names.
_TOKENS = {
    'group_tokens': 'group_token',
    'token_norm': 'group_projector.0',
    'token_mlp.fc1': 'group_projector.1.fc1',
    'token_mlp.fc2': 'group_projector.1.fc2',
}
_GROUPING = {
    'norm_tokens': 'norm_tokens',
    'token_mlp.fc1': 'mlp_inter.fc1',
    'token_mlp.fc2': 'mlp_inter.fc2',
    'norm_slots': 'norm_post_tokens',
    'norm_x': 'norm_x',
    'gather.attention.q': 'pre_assign_attn.attn.q_proj',
    'gather.attention.k': 'pre_assign_attn.attn.k_proj',
    'gather.attention.v': 'pre_assign_attn.attn.v_proj',
    'gather.attention.out': 'pre_assign_attn.attn.proj',
    'gather.norm': 'pre_assign_attn.norm2',
    'gather.mlp.fc1': 'pre_assign_attn.mlp.fc1',
    'gather.mlp.fc2': 'pre_assign_attn.mlp.fc2',
    'gather.norm_post': 'pre_assign_attn.norm_post',
    'assign.q': 'assign.q_proj',
    'assign.k': 'assign.k_proj',
    'assign.v': 'assign.v_proj',
    'assign.out': 'assign.proj',
    'norm_new': 'norm_new_x',
    'channel_mlp.fc1': 'mlp_channels.fc1',
    'channel_mlp.fc2': 'mlp_channels.fc2',
}
AUTHORS = Family(
    prefix='img_encoder.',
    stage='img_encoder.layers.{}.',
    block='blocks.{}.',
    names={
        'patch_embed': 'img_encoder.patch_embed.proj',
        'norm_patches': 'img_encoder.patch_embed.norm',
        'positions': 'img_encoder.pos_embed',
        'norm': 'img_encoder.norm',
    },
    parts={
        'norm1': 'norm1',
        'qkv': 'attn.qkv',
        'out': 'attn.proj',
        'norm2': 'norm2',
        'fc1': 'mlp.fc1',
        'fc2': 'mlp.fc2',
    },
    grouping=_GROUPING,
    projectors={'image': 'img_projector.', 'text': 'text_projector.'},
    layers={'0': 'linear_hidden.0', '1': 'linear_hidden.1', '3': 'linear_out'},
    text=Layout(
        names={
            'token_embedding': 'text_encoder.token_embedding',
            'positions': 'text_encoder.positional_embedding',
            'norm': 'text_encoder.ln_final',
        },
        block='text_encoder.transformer.resblocks.{}.',
        parts=OPENAI_PARTS,
        prefix='text_encoder.',
    ),
)
#: The layout of ``GroupViTModel``.
HUGGING_FACE = Family(
    prefix='vision_model.',
    stage='vision_model.encoder.stages.{}.',
    block='layers.{}.',
    names={
        'patch_embed': 'vision_model.embeddings.patch_embeddings.projection',
        'norm_patches': 'vision_model.embeddings.layernorm',
        'positions': 'vision_model.embeddings.position_embeddings',
        'norm': 'vision_model.layernorm',
    },
    parts=HUGGING_FACE_PARTS,
    grouping={**_GROUPING, 'gather.attention.out': 'pre_assign_attn.attn.out_proj'},
    projectors={'image': 'visual_projection.', 'text': 'text_projection.'},
    layers={'0': '0', '1': '1', '3': '3'},
    text=replace(
        HUGGING_FACE_TEXT,
        names={key: name for key, name in HUGGING_FACE_TEXT.names.items() if key != 'proj'},
        transposed=(),
    ),
)


class Projector(nn.Sequential):
    """Projects the features of a tower to the joint embedding.

    Args:
        width: Channel width of the features.
        hidden: Width of the hidden layer.
        output_dim: Width of the joint embedding.
    """

    def __init__(self, width: int, hidden: int, output_dim: int):
        super().__init__(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, output_dim),
        )
        self.output_dim = output_dim

    def forward(self, x: Tensor) -> Tensor:
        """Project ``[..., width]``."""
        return super().forward(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


class GroupViTFile:
    """A GroupViT checkpoint, and the networks built from it.

    Args:
        path: The authors' file, or Hugging Face's ``GroupViTModel`` weights.

    Raises:
        InputError: If the file is neither.
    """

    def __init__(self, path: Path):
        found = read_tensors(path)
        attention = {key: value for key, value in found.items() if '.self_attn.' in key}
        others = {key: value for key, value in found.items() if key not in attention}
        self.found: StateDict = {**others, **join_projections(attention)}
        self.source = str(path)
        for family in (AUTHORS, HUGGING_FACE):
            if f'{family.stage.format(0)}group_token' in found:
                self.family = family
                prefixes = family.prefix, *family.projectors.values(), _SCALE
                rest = [key for key in found if not key.startswith(prefixes)]
                check_unread([key for key in rest if not family.text.owns(key)], str(path))
                return
        keys = ', '.join(list(found)[:3]) or 'no tensor at all'
        raise InputError(
            f"{path} is not a GroupViT checkpoint: it has no 'img_encoder.layers.0.group_token' "
            f'but {keys}, …'
        )

    def image_network(self) -> GroupViTNetwork:
        """Build the image network.

        Raises:
            InputError: If tensors are missing or unexpected.
        """
        layout, stages = self._image_layout()
        weights = Weights(self.found, layout, self.source)
        width, _, patch_size, *_ = weights.get('patch_embed.weight', ndim=4).shape
        positions = weights.get('positions', ndim=2).shape[-2]
        weights.check_square(positions)
        check_heads(width, dict(heads=max(width // 64, 1)), self.source)
        return weights.fill(lambda: GroupViTNetwork(width, patch_size, positions, stages))

    def logit_scale(self) -> float:
        """Return the learned scale of cosines, at most 100.

        Raises:
            InputError: If the file does not have it.
        """
        if 'logit_scale' not in self.found:
            raise InputError(f"{self.source} is not a whole GroupViT: it lacks 'logit_scale'")
        scale = self.found['logit_scale']
        if scale.numel() != 1 or not scale.is_floating_point() or not scale.isfinite():
            raise InputError(f'{self.source}: logit_scale is {scale.tolist()}, expected a number')
        return min(float(self.found['logit_scale'].float().exp()), 100.0)

    def projector(self, tower: str, features: int) -> Projector:
        """Build a projector.

        Args:
            tower: ``'image'`` or ``'text'``.
            features: Width of the tower's features.

        Raises:
            InputError: If the file does not have the projector, or it does not fit.
        """
        prefix = self.family.projectors[tower]
        names = {ours: f'{prefix}{theirs}' for ours, theirs in self.family.layers.items()}
        layout = Layout(names=names, block='', parts={}, prefix=prefix)
        weights = Weights(self.found, layout, self.source)
        hidden, width = weights.get('0.weight', ndim=2).shape[:2]
        if width != features:
            raise InputError(f'{self.source}: {prefix}* takes {width} features, not {features}')
        output_dim = len(weights.get('3.weight', ndim=2))
        return weights.fill(lambda: Projector(width, hidden, output_dim))

    def text_tower(self) -> TextTower:
        """Build the text tower, without its projector.

        Raises:
            InputError: If the file does not have it.
        """
        return build_text_tower(Weights(self.found, self.family.text, self.source))

    def _image_layout(self) -> tuple[Layout, list[StageSizes]]:
        """Return the layout of the image network, and the sizes of its stages."""
        family, names = self.family, dict(self.family.names)
        stages: list[StageSizes] = []
        while sizes := self._stage_sizes(prefix := family.stage.format(len(stages))):
            theirs = dict(_TOKENS)
            for part, name in family.grouping.items():
                theirs[f'grouping.{part}'] = f'downsample.{name}'
            for number in range(sizes.depth):
                for part, name in family.parts.items():
                    theirs[f'blocks.{number}.{part}'] = family.block.format(number) + name
            for part, name in theirs.items():
                names[f'stages.{len(stages)}.{part}'] = prefix + name
            stages.append(sizes)
        return Layout(names, block='', parts={}, prefix=family.prefix), stages

    def _stage_sizes(self, prefix: str) -> StageSizes | None:
        """Return the sizes of the stage with a prefix; None if it does not exist."""
        depth, norm = 0, f'{prefix}{self.family.block}{self.family.parts["norm1"]}.weight'
        while norm.format(depth) in self.found:
            depth += 1
        if not depth:
            return None
        tokens = self.found.get(f'{prefix}group_token')
        groups = self.found.get(f'{prefix}downsample.mlp_inter.fc2.bias')
        if tokens is None or groups is None or tokens.ndim < 2 or groups.ndim < 1:
            return StageSizes(depth, 0, 0)
        return StageSizes(depth, tokens.shape[-2], len(groups))
