"""Towers (Vision Transformer and text transformer) and the loading of their weights."""

from .building import Weights, build_image_tower, build_text_tower
from .checkpoint import (
    check_clip,
    count_blocks,
    find_clip,
    load_clip,
    load_image_tower,
    load_text_tower,
    resolve_clip,
    text_options,
)
from .layouts import DINO, Layout
from .positions import Resampling, Rotary
from .repository import find_weights
from .tensor_files import read_tensors
from .text import TextEncoder, TextTower
from .tokens import BlockTokens, Grid, Tokens
from .vit import Block, VisionTransformer, attention_logits

__all__ = [
    'DINO',
    'Block',
    'BlockTokens',
    'Grid',
    'Layout',
    'Resampling',
    'Rotary',
    'TextEncoder',
    'TextTower',
    'Tokens',
    'VisionTransformer',
    'Weights',
    'attention_logits',
    'build_image_tower',
    'build_text_tower',
    'check_clip',
    'count_blocks',
    'find_clip',
    'find_weights',
    'load_clip',
    'load_image_tower',
    'load_text_tower',
    'read_tensors',
    'resolve_clip',
    'text_options',
]
