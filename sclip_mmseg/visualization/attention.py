"""Draw attention maps of chosen pixels in CLIP's last block, one column per method."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image
from torch import Tensor, nn

from .. import apis
from ..config import merge_options, read_config, set_checkpoint
from ..models import View
from ..models.building import build_text_head
from ..models.encoder import ImageEncoder
from ..models.file_image import FileImage
from ..models.texts import read_texts
from ..regions import GeneratedRegions, resize_nearest
from ..utils.errors import InputError
from ..zoo import config_of
from .drawing import GAP, beside, stack, titled

#: Default columns, with VOC20's configs.
METHODS = ('clip', 'maskclip', 'sclip', 'clearclip', 'naclip', 'resclip-naclip')
Point = tuple[float, float]
Size = tuple[int, int]


def draw_attention(
    image: str,
    points: Sequence[str],
    out: str,
    configs: Sequence[str] = (),
    *,
    clip: str | None = None,
    width: int = 1000,
    short_side: int = 336,
    cfg_options: dict[str, Any] | None = None,
) -> Path:
    """Draw attention maps of chosen pixels in the last block, one column per config.

    Args:
        image: The image file.
        points: Pixels as ``'x,y'``, one row each.
        out: File of the drawing.
        configs: Paths of configs, or names of shipped ones; by default those of :data:`METHODS`.
        clip: CLIP by name or path; None for the configs' own.
        width: Width of the drawing in pixels.
        short_side: Short side to which the image is resized; the tower sees it in one window.
        cfg_options: Settings that replace those of all configs.

    Returns:
        Path of the drawing.

    Raises:
        InputError: If an argument is invalid.
    """
    pixels = apis.read_image(image)[..., ::-1]
    places = parse_points(points, pixels.shape[:2])
    path = Path(out).expanduser()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise InputError(f'--out {path} must end in .png or another format of Pillow')
    for name, value in (('width', width), ('short-side', short_side)):
        if value < 1:
            raise InputError(f'--{name} {value} must be positive')
    maps = []
    for config in map(str, configs or (config_of(method, 'voc20') for method in METHODS)):
        cfg = read_config(config)
        merge_options(cfg, cfg_options)
        if clip:
            set_checkpoint(cfg, clip)
        weights = point_attention(cfg, image, places, short_side)
        maps.append((Path(config).stem.split('_')[0], weights))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(pixels, places, maps, width)).save(path)
    return path


def parse_points(texts: Sequence[str], size: Size) -> list[Point]:
    """Parse points ``'x,y'`` in an image of height and width ``size``.

    Raises:
        InputError: If a text is not a point, or the point is outside the image.
    """
    points = []
    for text in texts:
        try:
            x, y = map(float, text.split(','))
        except ValueError as error:
            raise InputError(f'--points {text} must be X,Y in pixels, such as 120,80') from error
        height, width = size
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f'--points {text} is outside the image of {width}×{height} pixels')
        points.append((x, y))
    return points


@torch.no_grad()
def point_attention(cfg: Config, path: str, points: Sequence[Point], short_side: int) -> Tensor:
    """Attention of a config's last block at some pixels of an image, seen in one window.

    Args:
        cfg: Config of a segmentor.
        path: Path of the image.
        points: Column and row of each pixel.
        short_side: Short side to which the image is resized.

    Returns:
        Maps ``[points, H, W]`` at the image's own size, float32 on the CPU: weights of the patches
        without the class token, averaged over heads.

    Raises:
        InputError: If the config's model cannot be built, or the image is smaller than a patch.
    """
    init_default_scope(cfg.default_scope)
    kind = MODELS.get(cfg.model.image_encoder.type)
    if kind.attention_map is ImageEncoder.attention_map:  # before weights are read
        raise InputError(f'{kind.__name__} has no attention weights to draw')
    encoder = MODELS.build(cfg.model.image_encoder).to(get_device()).eval()
    text = TextOnDemand(cfg.model)
    pipeline = Compose(
        [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(1 << 16, short_side), keep_ratio=True),
            dict(type='PackSegInputs'),
        ]
    )
    item = pipeline(dict(img_path=path))
    preprocessor = MODELS.build(cfg.model.data_preprocessor).to(get_device())
    image = preprocessor(dict(inputs=[item['inputs']]))['inputs']
    patch = encoder.patch_size
    if min(image.shape[-2:]) < patch:
        raise InputError(f'--short-side {short_side} is less than a patch of {patch} pixels')
    try:
        view = View(image, _regions(path, image) if encoder.needs_regions else None)
        [weights] = encoder.attention_map(view, text, FileImage(path)).cpu()
    except NotImplementedError as error:
        name = type(encoder.method).__name__
        raise InputError(f'{name} has no attention weights to draw') from error
    size, resized = item['data_samples'].ori_shape, image.shape[-2:]
    if encoder.attention_covers_image:
        grid = weights.shape[:2]
        at = [
            [int(part * cells / side) for part, cells, side in zip((y, x), grid, size)]
            for x, y in points
        ]
        maps = torch.stack([weights[row, column] for row, column in at])
        return F.interpolate(maps[None], size, mode='nearest')[0]
    patch = (encoder.tower if encoder.proxy is None else encoder.proxy.tower).patch_size
    maps = torch.stack([weights[patch_index(p, size, resized, patch)] for p in points])
    return to_image(maps, patch, resized, size)


def _regions(path: str, image: Tensor) -> Tensor:
    """Felzenszwalb's regions of an image, ``[1, H, W]`` at the size of ``image``."""
    pixels = mmcv.imread(path)
    found = GeneratedRegions(dict(type='Felzenszwalb')).make(pixels, pixels.shape[:2])
    return resize_nearest(found[None], (image.shape[-2], image.shape[-1])).to(image.device)


class TextOnDemand:
    """A text head that is only built if a method classifies, which most do not.

    Args:
        model: Config of the segmentor.
    """

    def __init__(self, model: dict):
        self._model = model
        class_ids = read_texts(**model['text_head']).query_set.class_ids
        self.class_ids = torch.tensor(class_ids, device=get_device())

    @cached_property
    def _head(self) -> nn.Module:
        return build_text_head(self._model['image_encoder'], self._model['text_head'])

    def __call__(self, features: Tensor) -> Tensor:
        """See the text head."""
        return self._head.to(features.device)(features)


def patch_index(point: Point, size: Size, resized: Size, patch: int) -> tuple[int, int]:
    """Row and column of the patch that contains a pixel, or of the nearest one.

    Args:
        point: Column and row of the pixel in the image.
        size: Height and width of the image.
        resized: Height and width of the image as the tower sees it.
        patch: Side of a patch in resized pixels.
    """
    x, y = point
    row, column = (
        min(int(at * new / old / patch), new // patch - 1)
        for at, old, new in zip((y, x), size, resized)
    )
    return row, column


def to_image(maps: Tensor, patch: int, resized: Size, size: Size) -> Tensor:
    """Resize maps of patches ``[P, rows, columns]`` to the image, ``[P, H, W]``.

    Pixels beyond the last whole patch, which CLIP does not see, get the last patch's value.
    """
    fine = F.interpolate(maps[None], scale_factor=patch, mode='nearest')
    bottom, right = (new - old for new, old in zip(resized, fine.shape[-2:]))
    fine = F.pad(fine, (0, right, 0, bottom), mode='replicate')
    return F.interpolate(fine, size, mode='bilinear', align_corners=False)[0]


def draw(
    image: np.ndarray, points: Sequence[Point], maps: Sequence[tuple[str, Tensor]], width: int
) -> np.ndarray:
    """Draw one row per point: the image, and each method's map over it.

    Args:
        image: RGB, uint8 ``[H, W, 3]``.
        points: Column and row of each pixel.
        maps: Name and maps ``[points, H, W]`` of each method, each scaled to its own maximum.
        width: Width of the drawing in pixels.

    Returns:
        RGB, uint8.
    """
    columns = 1 + len(maps)
    scale = max((width - GAP * (columns - 1)) // columns, 1) / image.shape[1]
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rows = []
    for index, point in enumerate(points):
        panels = {'image': small.copy()}
        for name, method in maps:
            weights = (method[index] / method[index].max()).numpy()
            heat = (cv2.resize(weights, size) * 255).clip(0, 255).astype(np.uint8)
            colors = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
            panels[name] = cv2.addWeighted(small, 0.5, colors, 0.5, 0)
        for panel in panels.values():
            _mark(panel, [round(at * scale) for at in point])
        rows.append(beside(list(panels.values())) if index else titled(panels))
    return stack(rows)


def _mark(panel: np.ndarray, point: Sequence[int]) -> None:
    """Draw a ring around a pixel, in place."""
    radius = max(4, panel.shape[1] // 16)
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.circle(panel, tuple(point), radius, color, thickness, cv2.LINE_AA)
