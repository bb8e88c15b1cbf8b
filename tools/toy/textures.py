"""Procedural backgrounds, only from integers and IEEE arithmetic: identical on all machines."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

Color = tuple[int, int, int]

# Kind → pairs of colours to blend between.
_COLORS = {
    'sky': ((96, 160, 230), (235, 242, 250)),
    'grass': ((50, 110, 30), (140, 190, 80)),
    'sea': ((15, 70, 120), (80, 160, 190)),
    'sand': ((200, 170, 120), (240, 220, 170)),
    'wall': ((150, 75, 55), (205, 120, 90)),
    'wood': ((110, 70, 35), (190, 140, 85)),
    'road': ((70, 70, 75), (135, 135, 140)),
    'curtain': ((130, 40, 60), (220, 150, 160)),
    'fence': ((170, 150, 120), (230, 220, 200)),
}
KINDS = (*_COLORS, 'plain')


def make_texture(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """Paint a background.

    Args:
        rng: Random generator.
        kind: One of :data:`KINDS`; ``'plain'`` has random colours and a random pattern.
        height, width: Size in pixels.

    Returns:
        RGB, uint8 ``[height, width, 3]``.
    """
    noise = _noise(rng, height, width, octaves=(4, 8, 16, 48))
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    if kind == 'plain':
        low, high = rng.integers(0, 256, (2, 3))
        pattern = int(rng.integers(4))
        period = int(rng.integers(20, 120))
        if pattern == 1:
            noise = 0.3 * noise + 0.7 * ((rows * int(rng.integers(-2, 3)) + columns) % period > 9)
        elif pattern == 2:
            noise = 0.4 * noise + 0.6 * ((rows // period + columns // period) % 2)
        elif pattern == 3:
            noise = 0.3 * noise + 0.7 * (rows / height)
    else:
        low, high = (np.array(color) + rng.integers(-25, 26, 3) for color in _COLORS[kind])
        fine = _noise(rng, height, width, octaves=(max(height, width) // 3,))
        if kind == 'sky':
            noise = np.clip(2.5 * noise - 0.9 + 0.5 * rows / height, 0, 1)
        elif kind == 'grass':
            noise = 0.4 * noise + 0.6 * _noise(rng, height, width, ((height // 12, width // 2),))
        elif kind == 'sea':
            noise = 0.4 * noise + 0.6 * _noise(rng, height, width, ((height // 4, width // 40),))
        elif kind in ('sand', 'road'):
            noise = 0.5 * noise + 0.5 * fine
        elif kind == 'wall':
            brick = int(rng.integers(18, 34))
            shifted = columns + (rows // brick % 2) * brick
            joint = (rows % brick < 3) | (shifted % (2 * brick) < 3)
            noise = np.where(joint, 1.4, 0.6 * noise)
        elif kind == 'wood':
            plank = int(rng.integers(30, 70))
            grain = _noise(rng, height, width, ((height // 2, width // 60 + 2),))
            noise = np.where(rows % plank < 2, -0.4, 0.35 * noise + 0.65 * grain)
        elif kind == 'curtain':
            fold = int(rng.integers(24, 60))
            wave = np.abs(columns % (2 * fold) - fold) / fold
            noise = 0.25 * noise + 0.75 * np.broadcast_to(wave, noise.shape)
        elif kind == 'fence':
            slat = int(rng.integers(20, 44))
            noise = np.where(columns % slat < slat // 4, -0.9, 0.5 + 0.5 * noise)
    image = low + (high - low) * noise[..., None]
    image = image * (0.75 + 0.4 * rng.random())
    return np.clip(image, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int, octaves: Sequence) -> np.ndarray:
    """Smooth noise in 0..1, ``[height, width]``: enlarged grids of random bytes, coarse to fine."""
    total, weight = np.zeros((height, width)), 0.0
    for order, cells in enumerate(octaves):
        rows, columns = cells if isinstance(cells, tuple) else (cells, cells)
        grid = rng.integers(0, 256, (max(rows, 2), max(columns, 2)), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((width, height), Image.Resampling.BILINEAR)
        total += np.asarray(layer) * 0.6**order
        weight += 0.6**order
    return total / (255 * weight)
