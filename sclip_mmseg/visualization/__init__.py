"""Drawings of segmentations, for files, the web page, ``--show-dir`` and the tools."""

from .drawing import (
    beside,
    draw_classes,
    draw_comparison,
    draw_legend,
    draw_overlay,
    stack,
    titled,
    with_legend,
)
from .visualizer import OverlayVisualizer

__all__ = [
    'OverlayVisualizer',
    'beside',
    'draw_classes',
    'draw_comparison',
    'draw_legend',
    'draw_overlay',
    'stack',
    'titled',
    'with_legend',
]
