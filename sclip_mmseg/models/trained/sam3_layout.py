"""Loads SAM 3's networks from Meta's checkpoint or one of ``transformers``."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...towers import Layout, TextTower, Weights, build_text_tower, read_tensors
from ...towers.building import as_float
from ...towers.layouts import (
    HUGGING_FACE_TEXT,
    OPENAI_TEXT,
    StateDict,
    check_unread,
    join_projections,
)
from ...towers.repository import Checkpoint, Family, find_named
from ...towers.spec import TRANSFORMERS, WEIGHTS, read_weights
from ...utils.errors import InputError

#: The first version whose ``Sam3Model`` takes prompt features as an output of its text tower.
TRANSFORMERS_VERSION = 5, 9
SIDE, PATCH, WINDOW = 1008, 14, 24  # pixels of the input, pixels of a patch, patches of a window
# Meta's names without `detector.` → those of a `Sam3Model`, applied in this order.
_NAMES = (
    (r'^backbone\.vision_backbone\.trunk\.', 'vision_encoder.backbone.'),
    (r'^backbone\.vision_backbone\.convs\.', 'vision_encoder.neck.fpn_layers.'),
    (r'^backbone\.language_backbone\.encoder\.', 'text_encoder.'),
    (r'^backbone\.language_backbone\.resizer\.', 'text_projection.'),
    (r'backbone\.pos_embed$', 'backbone.embeddings.position_embeddings'),
    (r'backbone\.patch_embed\.proj', 'backbone.embeddings.patch_embeddings.projection'),
    (r'backbone\.ln_pre', 'backbone.layer_norm'),
    (r'backbone\.blocks\.(\d+)\.norm', r'backbone.layers.\1.layer_norm'),
    (r'backbone\.blocks\.(\d+)\.attn\.proj', r'backbone.layers.\1.attention.o_proj'),
    (r'backbone\.blocks\.(\d+)\.attn', r'backbone.layers.\1.attention'),
    (r'backbone\.blocks\.', 'backbone.layers.'),
    (r'dconv_2x2(_0)?\.', 'scale_layers.0.'),
    (r'dconv_2x2_1\.', 'scale_layers.2.'),
    (r'\.conv_1x1\.', '.proj1.'),
    (r'\.conv_3x3\.', '.proj2.'),
    (r'^geometry_encoder\.encode\.', 'geometry_encoder.layers.'),
    (r'^geometry_encoder\.norm\.', 'geometry_encoder.prompt_layer_norm.'),
    (r'^geometry_encoder\.img_pre_norm\.', 'geometry_encoder.vision_layer_norm.'),
    (r'^geometry_encoder\.encode_norm\.', 'geometry_encoder.output_layer_norm.'),
    (r'^transformer\.encoder\.', 'detr_encoder.'),
    (r'^((?:geometry|detr)_encoder\.layers\.\d+)\.cross_attn_image\.', r'\1.cross_attn.'),
    (r'^((?:geometry|detr)_encoder\.layers\.\d+)\.norm', r'\1.layer_norm'),
    (r'^transformer\.decoder\.', 'detr_decoder.'),
    (r'^(detr_decoder\.layers\.\d+)\.cross_attn\.', r'\1.vision_cross_attn.'),
    (r'^(detr_decoder\.layers\.\d+)\.ca_text\.', r'\1.text_cross_attn.'),
    (r'^(detr_decoder\.layers\.\d+)\.norm1\.', r'\1.vision_cross_attn_layer_norm.'),
    (r'^(detr_decoder\.layers\.\d+)\.catext_norm\.', r'\1.text_cross_attn_layer_norm.'),
    (r'^(detr_decoder\.layers\.\d+)\.norm2\.', r'\1.self_attn_layer_norm.'),
    (r'^(detr_decoder\.layers\.\d+)\.norm3\.', r'\1.mlp_layer_norm.'),
    (r'^detr_decoder\.norm\.', 'detr_decoder.output_layer_norm.'),
    (r'^detr_decoder\.bbox_embed\.', 'detr_decoder.box_head.'),
    (r'^detr_decoder\.boxRPB_embed_', 'detr_decoder.box_rpb_embed_'),
    (r'^detr_decoder\.presence_token_head\.', 'detr_decoder.presence_head.'),
    (r'^detr_decoder\.presence_token_out_norm\.', 'detr_decoder.presence_layer_norm.'),
    (r'^segmentation_head\.', 'mask_decoder.'),
    (r'\.mask_predictor\.mask_embed\.', '.mask_embedder.'),
    (r'\.instance_seg_head\.', '.instance_projection.'),
    (r'\.semantic_seg_head\.', '.semantic_projection.'),
    (r'\.cross_attend_prompt\.', '.prompt_cross_attn.'),
    (r'\.cross_attn_norm\.', '.prompt_cross_attn_norm.'),
    (r'^dot_prod_scoring\.', 'dot_product_scoring.'),
    (r'\.prompt_mlp\.out_norm\.', '.text_mlp_out_norm.'),
    (r'\.prompt_mlp\.', '.text_mlp.'),
    (r'\.prompt_proj\.', '.text_proj.'),
    (r'\.hs_proj\.', '.query_proj.'),
    (r'\.linear([12])\.', r'.mlp.fc\1.'),
)
# MLPs whose layers are numbered from 1.
_COUNTED = re.compile(
    r'(\.(?:box_head|box_rpb_embed_[xy]|presence_head|ref_point_head|text_mlp))\.layers\.(\d)\.'
)
_THIRDS = re.compile(r'(.*)\.(?:qkv\.|in_proj_)(weight|bias)')
# Tensors of the tracker and of clicks, and rotary positions, which are computed.
_UNUSED = re.compile(r'sam2_convs\.|\.points_\w*project\.|\.freqs_cis$')
# Prefixes of the tracker's tensors in a folder of transformers.
_TRACKER = ('tracker.', 'tracker_model.', 'tracker_neck.')


_FAMILY = Family(
    'model.image_encoder.checkpoint',
    read=read_weights,
    configs=WEIGHTS[TRANSFORMERS],
    refusal="is neither a file of Meta's (sam3.pt), nor a folder, nor a name on the Hub such as "
    'facebook/sam3',
)


def find_sam3(checkpoint: str) -> Checkpoint:
    """Find the checkpoint of a path, or of a name on the Hub with or without ``hf:``.

    Raises:
        InputError: If there is no such checkpoint, access is not granted, or the download fails.
    """
    return find_named(checkpoint, _FAMILY)


class SAM3File:
    """A SAM 3 checkpoint, and the networks built from it.

    Args:
        path: Meta's ``sam3.pt``, or the weights of a folder of ``transformers``.

    Raises:
        InputError: If the file is neither.
    """

    def __init__(self, path: Path):
        found = read_tensors(path)
        self.source = str(path)
        self.global_blocks = set(_global_blocks(found))
        prefix = next((p for p in ('detector.', 'detector_model.') if _starts(found, p)), '')
        found = {
            key.removeprefix(prefix): value
            for key, value in found.items()
            if key.startswith(prefix) and not key.startswith(_TRACKER)
        }
        self.found: StateDict = dict(_renamed(found)) if prefix == 'detector.' else found
        if 'detr_decoder.query_embed.weight' not in self.found:
            keys = ', '.join(list(found)[:3]) or 'no tensor at all'
            raise InputError(
                f"{path} is not Meta's SAM 3 (sam3.pt), nor one of transformers: it has no "
                f"'detector.transformer.decoder.query_embed.weight' but {keys}, …"
            )

    def text_tower(self) -> tuple[TextTower, nn.Linear]:
        """Build the text tower, and the projection of its tokens to the network's width.

        Raises:
            InputError: If tensors are missing, or do not fit.
        """
        text = {key: value for key, value in self.found.items() if key.startswith('text_')}
        text = join_projections(text)
        layout = next((each for each in _TEXTS if each.has('positions', text)), _TEXTS[0])
        tower = build_text_tower(Weights(text, layout, self.source), quick_gelu=False)
        names = {'weight': 'text_projection.weight', 'bias': 'text_projection.bias'}
        linear = Layout(names, block='', parts={}, prefix='text_projection.')
        weights = Weights(text, linear, self.source)
        rows, width = weights.get('weight', ndim=2).shape
        return tower, weights.fill(lambda: nn.Linear(width, rows))

    def network(self) -> Any:
        """Build a ``Sam3Model`` without its text tower, float32, frozen.

        Raises:
            InputError: If tensors are missing, or do not fit, or ``transformers`` is not
                installed.
        """
        _, model_class = import_sam3()
        weights = {
            key: as_float(value, key, self.source)
            for key, value in self.found.items()
            if not key.startswith('text_')
        }
        try:
            with torch.device('meta'):
                model = model_class(self._config())
            del model.text_encoder, model.text_projection
            missing, more = model.load_state_dict(weights, strict=False, assign=True)
            if missing:
                raise KeyError(f'it lacks {missing[0]}')
        except (KeyError, IndexError, RuntimeError) as error:
            reason = ' '.join(str(error).split())[:200]
            raise InputError(f'{self.source} is not a whole SAM 3: {reason}') from error
        check_unread(more, self.source)
        _compute_positions(model)
        return model.requires_grad_(False).eval()

    def _config(self) -> Any:
        """Return a config with the tensors' sizes; epsilons are Meta's, whatever a file states."""
        config_class, _ = import_sam3()
        vision, heads = (
            'vision_encoder.backbone.',
            self._rows('detr_decoder.box_rpb_embed_x.layer2'),
        )
        depth, width = self._depth(vision), self._rows(f'{vision}layer_norm')
        self._check_heads('image tower', width, max(width // 64, 1), 64)
        blocks = self.global_blocks or {n for n in range(depth) if n % 8 == 7 or n == depth - 1}
        backbone = dict(
            model_type='sam3_vit_model',
            hidden_size=width,
            intermediate_size=self._rows(f'{vision}layers.0.mlp.fc1'),
            num_hidden_layers=depth,
            num_attention_heads=max(width // 64, 1),
            global_attn_indexes=sorted(blocks),
            layer_norm_eps=1e-5,
            image_size=SIDE,
            patch_size=PATCH,
            window_size=WINDOW,
        )
        parts = {
            f'{part}_config': dict(
                hidden_size=self._rows(f'{part}.layers.0.mlp.fc2'),
                intermediate_size=self._rows(f'{part}.layers.0.mlp.fc1'),
                num_layers=self._depth(f'{part}.'),
                num_attention_heads=heads,
            )
            for part in ('geometry_encoder', 'detr_encoder', 'detr_decoder')
        }
        fused = self._rows('mask_decoder.instance_projection')
        widths = {name.removesuffix('_config'): part['hidden_size'] for name, part in parts.items()}
        for name, width in {**widths, 'mask_decoder': fused}.items():
            self._check_heads(name, width, heads)
        parts['detr_decoder_config']['num_queries'] = self._rows('detr_decoder.query_embed')
        return config_class(
            vision_config=dict(
                backbone_config=backbone,
                fpn_hidden_size=self._rows('vision_encoder.neck.fpn_layers.0.proj2'),
            ),
            mask_decoder_config=dict(hidden_size=fused, num_attention_heads=heads),
            **parts,
        )

    def _check_heads(self, part: str, width: int, heads: int, wide: int | None = None) -> None:
        """Check that a width divides into heads, each ``wide`` channels wide if given."""
        if width % heads or (wide is not None and width != heads * wide):
            into = f'heads of {wide}' if wide else f'{heads} heads'
            raise InputError(
                f'{self.source} is not a whole SAM 3: its {part} is {width} wide, which does not '
                f'divide into {into}'
            )

    def _rows(self, name: str) -> int:
        return self.found[f'{name}.weight'].size(0)

    def _depth(self, prefix: str) -> int:
        layout = Layout({}, block=f'{prefix}layers.{{}}.', parts={}, prefix=prefix)
        return Weights(self.found, layout, self.source).depth()


def import_sam3() -> tuple[Any, Any]:
    """Import ``Sam3Config`` and ``Sam3Model``.

    Raises:
        InputError: If ``transformers`` is missing or older than :data:`TRANSFORMERS_VERSION`.
    """
    needed = '.'.join(map(str, TRANSFORMERS_VERSION))
    words = f'SAM 3 needs transformers {needed} or later: pip install -U "transformers>={needed}"'
    try:
        from transformers import Sam3Config, Sam3Model, __version__
    except ImportError as error:
        raise InputError(f'{words} ({error})') from error
    if tuple(map(int, re.findall(r'\d+', __version__)[:2])) < TRANSFORMERS_VERSION:
        raise InputError(f'{words} (it is {__version__})')
    return Sam3Config, Sam3Model


def _starts(found: StateDict, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in found)


def _global_blocks(found: StateDict) -> Iterator[int]:
    """Yield the image tower's blocks with global attention, where the file shows them."""
    for key, value in found.items():
        match = re.search(r'trunk\.blocks\.(\d+)\.attn\.freqs_cis$', key)
        if match and len(value) == (SIDE // PATCH) ** 2:
            yield int(match[1])


def _renamed(found: StateDict) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in found.items():
        if _UNUSED.search(name):
            continue
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        if name.startswith('text_'):
            yield name, tensor
            continue
        name = _COUNTED.sub(lambda match: f'{match[1]}.layer{int(match[2]) + 1}.', name)
        name = name.replace('.out_proj.', '.o_proj.')
        if match := _THIRDS.fullmatch(name):
            for letter, part in zip('qkv', tensor.chunk(3)):
                yield f'{match[1]}.{letter}_proj.{match[2]}', part
        elif name.endswith('.position_embeddings'):
            yield name, tensor[:, -(WINDOW**2) :]  # without the class token's position
        else:
            yield name, tensor


def _text_layout(layout: Layout, more: str) -> Layout:
    """Return a CLIP text layout with SAM 3's names, without the final projection."""
    prefix = 'text_encoder.'
    names = {key: prefix + name for key, name in layout.names.items() if key != 'proj'}
    ignored = (*(prefix + name for name in layout.ignored), prefix + more)
    return replace(
        layout,
        names=names,
        block=prefix + layout.block,
        prefix=prefix,
        ignored=ignored,
        transposed=(),
    )


_TEXTS = (
    _text_layout(OPENAI_TEXT, 'text_projection'),
    _text_layout(HUGGING_FACE_TEXT, 'text_projection.weight'),
)


def _compute_positions(model: Any) -> None:
    """Compute the rotary positions of the image tower, which checkpoints do not hold."""
    made: dict[int, Any] = {}
    backbone = model.vision_encoder.backbone
    for layer in backbone.layers:
        if layer.window_size not in made:
            made[layer.window_size] = type(layer)(backbone.config, layer.window_size)
        for name, buffer in made[layer.window_size].named_buffers():
            module, _, last = name.rpartition('.')
            setattr(layer.get_submodule(module), last, buffer)
