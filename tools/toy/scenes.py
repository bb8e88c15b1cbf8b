"""Images of several pictograms on a background, with exact masks.

Pillow resamples bytes in integer arithmetic, so a seed gives the same image on all machines with
the same version of Pillow; other versions may round a few pixels differently.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter


def compose(
    rng: np.random.Generator,
    background: np.ndarray,
    sprites: Sequence[np.ndarray],
    sizes: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Paste objects on top of each other, inside the image.

    Positions are drawn up to twenty times until at least two thirds of each object stay visible.

    Args:
        rng: Random generator.
        background: RGB, uint8 ``[H, W, 3]``.
        sprites: Objects, RGBA, uint8 ``[h, w, 4]``.
        sizes: Minimum and maximum longer side of an object in pixels.

    Returns:
        RGB image, uint8 ``[H, W, 3]``, and instance ids, uint8 ``[H, W]``: 0 is background, i the
        i-th object.
    """
    canvas = Image.fromarray(background)
    instances = np.zeros(background.shape[:2], np.uint8)
    areas: list[int] = []
    for index, sprite in enumerate(sprites, start=1):
        object_ = _vary(rng, sprite, int(rng.integers(sizes[0], sizes[1] + 1)))
        mask = np.asarray(object_.getchannel('A')) > 127
        x, y = _find_place(rng, instances, mask, areas)
        canvas.paste(object_, (x, y), object_)
        target, source = _overlap(instances.shape, mask.shape, x, y)
        instances[target][mask[source]] = index
        areas.append(max(int(mask.sum()), 1))
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(1))
    image = np.asarray(canvas).astype(np.int16)
    grain = int(rng.integers(0, 12))
    if grain:
        image = image + rng.integers(-grain, grain + 1, image.shape, dtype=np.int16)
    return np.clip(image, 0, 255).astype(np.uint8), instances


def _vary(rng: np.random.Generator, sprite: np.ndarray, size: int) -> Image.Image:
    """Crop the empty border of a sprite, then resize, mirror, rotate and recolour it."""
    image = Image.fromarray(sprite)
    image = image.crop(image.getchannel('A').getbbox())
    factor = size / max(image.size)
    width, height = (max(int(side * factor + 0.5), 8) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(int(rng.integers(-20, 21)), Image.Resampling.BILINEAR, expand=True)
    return _recolor(rng, image)


def _recolor(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Mix the channels slightly."""
    mix = np.eye(3) + 0.1 * (rng.random((3, 3)) - 0.5)
    offset = 25.5 * (rng.random(3) - 0.5)
    matrix = np.concatenate([mix, offset[:, None]], axis=1).flatten().tolist()
    alpha = image.getchannel('A')
    rgb = image.convert('RGB').convert('RGB', matrix)
    rgb.putalpha(alpha)
    return rgb


def _find_place(
    rng: np.random.Generator,
    instances: np.ndarray,
    mask: np.ndarray,
    areas: Sequence[int],
) -> tuple[int, int]:
    height, width = instances.shape
    for _ in range(20):
        x = int(rng.integers(0, max(width - mask.shape[1], 0) + 1))
        y = int(rng.integers(0, max(height - mask.shape[0], 0) + 1))
        target, source = _overlap(instances.shape, mask.shape, x, y)
        left = np.bincount(instances[target][~mask[source]], minlength=len(areas) + 1)
        outside = np.bincount(instances.ravel(), minlength=len(areas) + 1)
        outside -= np.bincount(instances[target].ravel(), minlength=len(areas) + 1)
        remaining = (left + outside)[1 : len(areas) + 1]
        if all(rest > area * 2 / 3 for rest, area in zip(remaining, areas)):
            break
    return x, y


def _overlap(canvas: tuple[int, int], mask: tuple[int, int], x: int, y: int):
    """Slices of the canvas and of a mask placed at ``(x, y)`` where they overlap."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + mask[0], canvas[0]), min(x + mask[1], canvas[1])
    target = np.s_[top : max(bottom, top), left : max(right, left)]
    source = np.s_[top - y : max(bottom, top) - y, left - x : max(right, left) - x]
    return target, source
