"""Pictures of segmentations: one drawing for files, the page, ``--show-dir`` and the tools."""

from .drawing import beside, draw_classes, draw_legend, draw_overlay, find_classes, titled

__all__ = ['beside', 'draw_classes', 'draw_legend', 'draw_overlay', 'find_classes', 'titled']
