"""Segment images into your own classes: build a segmentor, and call it."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from PIL import Image
from torch import Tensor

from ..datasets.query_set import Queries
from ..models import CLIPSegmentor
from ..old_names import keep_old_names
from ..rasters.detecting import is_map
from ..rasters.grid import Grid
from ..rasters.reading import Bands, Raster, Stretch, open_raster
from ..rasters.result import no_data_label
from ..regions import GeneratedRegions
from ..registry import in_scope
from ..utils.errors import HalfOverflow, InputError, first_line
from ..utils.images import most_pixels
from ..utils.precision import own_precision
from ..zoo import METHODS, TOY, default_method, is_toy
from .arrays import check_path, to_bgr
from .media import read_image
from .own_config import own_config
from .precision import choose_precision, in_float32
from .segmentation import Segmentation
from .shrinking import warn_if_shrunk
from .sizes import WorkingSize, resize_steps, working_size
from .writers import ClassInfo

keep_old_names(
    __name__,
    BACKGROUND_THD='apis.own_config.BACKGROUND_THD',
    BENCHMARK='apis.own_config.BENCHMARK',
    is_trained='apis.own_config.is_trained',
    parse_classes='apis.parse_classes',
)


def list_methods() -> list[str]:
    """Names of the methods that :func:`build_segmentor` knows."""
    return list(METHODS)


def build_segmentor(
    classes: Queries,
    background: bool | str | Sequence[str] = False,
    method: str | None = None,
    clip: str | None = None,
    device: str | None = None,
    cfg_options: dict | None = None,
    regions: str | dict | None = None,
    share: CLIPSegmentor | None = None,
    precision: str | None = None,
    size: WorkingSize | None = None,
) -> CLIPSegmentor:
    """Build a segmentor for your own classes.

    Args:
        classes: The classes, as in ``"cat, kitten; dog"`` or ``[['cat', 'kitten'], 'dog']``; or a
            file of classes, or a shipped list, see :func:`..datasets.load_queries`.
        background: Words for everything else (a list, or a text separated by commas). They form
            class 0, together with all pixels whose best score is below 0.1. True for the 26
            words of the published VOC21 list, except those that are queries of a class (with SAM 3
            only the word ``background``, and below 0.4). Other trained systems have a background
            without words: True uses it, as published for VOC21.
        method: One of :func:`list_methods`; None for ``'scclip'``, or ``'sclip'`` with the toy
            CLIP.
        clip: A CLIP by name or path; None for the method's default, ViT-B/16. With GroupViT, TCL
            and SAM 3, the checkpoint of the system; with Talk2DINO, the CLIP that encodes texts.
        device: Device of the model; None for the accelerator if there is one.
        cfg_options: Further values of the config by dotted keys. The classes of
            ``model.text_head.embeddings`` must equal ``classes``, synonyms included.
        regions: Generator of image regions, each of which gets its most frequent class:
            ``'felzenszwalb'``, ``'sam2'``, ``'sam'``, or a config, see :mod:`..regions`. None for
            no regions, or ``'felzenszwalb'`` with methods that need regions.
        share: A segmentor whose towers are shared, not copied, if they are the same and on the
            same device: they are not read from disk again, and only queries that it does not have
            are encoded. It is not changed, and both can segment at the same time.
        precision: Precision of the image encoder: ``'fp32'``, ``'fp16'`` or ``'bf16'``; None for
            float16 where the device is fast at it and the method's labels hardly change, else
            float32, see :func:`.precision.choose_precision`. Images that overflow float16 are
            segmented again in float32.
        size: Working size of images: pixels of the short side, ``'native'`` for their own size,
            or a factor, as in 0.5, see :func:`.sizes.resize_steps`; None for the published 336.

    Returns:
        The segmentor, ready for :func:`segment` and mmseg's ``inference_model``.

    Raises:
        InputError: If an argument is invalid.
    """
    method = method or default_method(clip)
    arguments = dict(
        classes=classes,
        background=background,
        method=method,
        clip=clip,
        device=device,
        cfg_options=cfg_options,
        regions=regions,
        precision=precision,
        size=size,
    )
    found_device = find_device(device)
    own = own_config(classes, background, method, clip, cfg_options, regions)
    cfg = own.cfg
    cfg.test_pipeline = resize_steps(cfg.test_pipeline, size)
    choice = choose_precision(cfg.model.image_encoder, found_device, precision)
    if choice.precision != cfg.model.image_encoder.get('precision', 'fp32'):
        cfg.model.image_encoder.precision = choice.precision
    if share is not None and share.class_ids.device != found_device:
        share = None
    with in_scope():
        model = MODELS.build({**cfg.model, 'share': share})
    if cfg.get('load_from'):
        load_checkpoint(model, cfg.load_from, map_location='cpu')
    model.require_weights()
    model.cfg = cfg
    model.dataset_meta = dict(
        classes=own.names, palette=own.palette, label_ids=own.label_ids, synonyms=own.synonyms
    )
    model.arguments, model.precision = arguments, choice
    return model.to(found_device).eval()


def find_device(device: str | None) -> torch.device:
    """Find a device by name; None for the accelerator if there is one.

    Raises:
        InputError: If the device is not available.
    """
    try:
        return torch.empty(0, device=device or get_device()).device
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"device='{device}' (--device) cannot be used ({first_line(error)}): use 'cpu', or "
            'leave it out'
        ) from error


def with_classes(
    model: CLIPSegmentor, classes: Queries, background: bool | Sequence[str] = False
) -> CLIPSegmentor:
    """Build a segmentor for other classes: the towers are shared, only new queries are encoded.

    Args:
        model: Segmentor from :func:`build_segmentor`, whose other arguments are reused. It is not
            changed, and both can segment at the same time.
        classes, background: See :func:`build_segmentor`.

    Returns:
        The segmentor, ready for :func:`segment`; it shares the towers of ``model``.

    Raises:
        InputError: If an argument is invalid.
    """
    other = dict(classes=classes, background=background)
    return build_segmentor(**{**model.arguments, **other}, share=model)


def segment(
    model: CLIPSegmentor,
    image: str | Path | np.ndarray | Tensor | Image.Image,
    regions: np.ndarray | None = None,
    channels: str | None = None,
    size: WorkingSize | None = None,
    bands: Bands | None = None,
    stretch: Stretch | None = None,
) -> Segmentation:
    """Segment an image.

    Args:
        model: Segmentor from :func:`build_segmentor`.
        image: A path; a PIL image, which is turned upright by its EXIF data, like a file; an array
            ``[H, W, 3]``; or a tensor ``[3, H, W]``. Arrays and tensors are uint8, 0 to 255, or
            floats, 0 to 1; a fourth channel, alpha, is ignored; grey images have one channel or
            no channel axis.
        regions: Ids of the image's regions, integers ``[H, W]``; the lowest id means no region.
            None for the regions that the model reads or generates, if it needs any.
        channels: Order of the channels of an array or tensor: ``'rgb'``, or ``'bgr'`` as in OpenCV
            and :func:`.media.read_image`. None for files, PIL images and grey images.
        size: Working size, see :func:`build_segmentor`; None for the model's.
        bands, stretch: How a map is read, see :class:`..rasters.reading.Raster`.

    Returns:
        The segmentation, at the size of the image. Where a map has no data, labels are
        :func:`..rasters.result.no_data_label`.

    Raises:
        InputError: If the file does not exist or is not an image, if an array is not an image or
            its channel order is missing, if the regions are invalid or the model does not use
            regions, or if memory is insufficient.

    Warns:
        UserWarning: If the toy CLIP is given an image other than its own drawings.
    """
    if not isinstance(model, CLIPSegmentor):
        raise InputError(
            f'the first argument is what apis.build_segmentor returns, not {type(model).__name__}'
        )
    path = str(image) if isinstance(image, (str, Path)) else None
    valid = None
    if path is None:
        pixels = to_bgr(image, channels)
    else:
        check_path(path, channels)
        pixels, valid, grid = read_any(path, bands, stretch)
    clip = model.encoder_cfg.get('clip', '')
    if is_toy(clip) and not (path and Path(clip).parent.resolve() in Path(path).resolve().parents):
        warnings.warn(f'{TOY} For photographs, name another clip, such as ViT-B/16', stacklevel=2)
    with warn_if_shrunk(model, pixels.shape[:2], path or 'the image', size):
        found = segment_array(model, pixels, path, regions, size)
    if valid is not None:
        found.labels[~valid] = no_data_label(model.num_classes)
        found.grid = grid
    return found


def read_any(
    path: str | Path,
    bands: Bands | None = None,
    stretch: Stretch | None = None,
    driver: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None, Grid | None]:
    """Read an image, or a map as an image.

    Args:
        path: The file.
        bands, stretch, driver: How a map is read, see :class:`..rasters.reading.Raster`.

    Returns:
        BGR, uint8 ``[H, W, 3]``; for maps also the valid pixels, bool ``[H, W]``, and the grid,
        else None.

    Raises:
        InputError: If the file cannot be read.
    """
    if not is_map(path, bands is not None or stretch is not None):
        return read_image(path), None, None
    with open_raster(path, bands, stretch, driver) as raster:
        check_pixels(raster)
        image, valid = raster.read()
    return np.ascontiguousarray(image[..., ::-1]), valid, raster.grid


def check_pixels(raster: Raster, why: str = '') -> None:
    """Check that a map is not too large to be read into memory as one image.

    Args:
        raster: The map.
        why: The reason for reading it as a whole, for the message.

    Raises:
        InputError: If the map is too large.
    """
    pixels, limit = raster.grid.width * raster.grid.height, most_pixels()
    if pixels > limit:
        raise InputError(
            f'{raster.path} has {pixels / 1e6:.0f} million pixels; at most {limit // 10**6} '
            f'million can be segmented as one image{why}'
        )


@own_precision()
def segment_array(
    model: CLIPSegmentor,
    image: np.ndarray,
    path: str | None = None,
    regions: np.ndarray | None = None,
    size: WorkingSize | None = None,
) -> Segmentation:
    """Segment an image in memory.

    Args:
        model, regions, size: See :func:`segment`.
        image: BGR, uint8 ``[H, W, 3]``.
        path: File of the image, by whose name region maps are found; None if it has none.

    Raises:
        InputError: If the image is too thin for the method, if the regions are invalid or the
            model does not use regions, or if memory is insufficient.
    """
    if regions is not None and model.regions is None:
        raise InputError(
            'this segmentor does not use regions: leave them out, or build it with '
            "regions='felzenszwalb'"
        )
    known: np.ndarray | Tensor | None = regions
    if regions is None and isinstance(model.regions, GeneratedRegions):
        known = model.regions.make(image, image.shape[:2])
    data = to_data(model, image, path, known, size)
    try:
        with torch.no_grad():
            [result] = model.test_step(data)
    except HalfOverflow:
        own = partial(build_segmentor, **{**model.arguments, 'precision': 'fp32'}, share=model)
        return segment_array(in_float32(model, own), image, path, regions, size)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        name, (height, width) = path or 'the image', image.shape[:2]
        raise InputError(
            f'{name} needs more memory than is available: {height}×{width} pixels, '
            f'{len(model.dataset_meta["classes"])} classes; make it smaller'
        ) from error
    scores = result.seg_logits.data.cpu().numpy() if 'seg_logits' in result else None
    found = _segmentation(model, result.pred_sem_seg.data[0].cpu().numpy(), scores)
    found.image, found.path = image[..., ::-1], path
    return found


def to_data(
    model: CLIPSegmentor,
    image: np.ndarray,
    path: str | None,
    regions: np.ndarray | Tensor | None,
    size: WorkingSize | None = None,
) -> dict[str, Any]:
    """Prepare an image in memory for the model's preprocessor.

    Args:
        model: The segmentor.
        image, path, regions, size: See :func:`segment_array`; ``regions=None`` for those in files.

    Returns:
        A batch of one image for ``data_preprocessor``.

    Raises:
        InputError: If the image is too thin to be resized.
    """
    name, (height, width) = path or 'the image', image.shape[:2]
    steps = resize_steps(model.cfg.test_pipeline, size)
    if 0 in working_size(steps, (height, width)):
        raise InputError(f'{name} is too thin to be resized: {height}×{width} pixels')
    steps = [step for step in steps if step['type'] != 'LoadAnnotations']
    steps[0] = dict(steps[0], type='LoadImageFromNDArray')
    data = pseudo_collate([Compose(steps)(dict(img=image))])
    data['data_samples'][0].set_metainfo(dict(img_path=path, regions=regions, pixels=image))
    return data


def classes_of(model: CLIPSegmentor) -> list[ClassInfo]:
    """The K classes of a segmentor of :func:`build_segmentor`, as they are written to files."""
    return _segmentation(model, np.empty((0, 0), np.int64), None).classes


def _segmentation(
    model: CLIPSegmentor, labels: np.ndarray, scores: np.ndarray | None
) -> Segmentation:
    meta = model.dataset_meta
    ids, synonyms = meta.get('label_ids'), meta.get('synonyms')
    return Segmentation(labels, scores, meta['classes'], meta['palette'], ids, synonyms)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory, for which PyTorch has no class on the CPU."""
    words = "can't allocate memory", 'not enough memory'
    kinds = MemoryError, torch.cuda.OutOfMemoryError
    return isinstance(error, kinds) or any(text in str(error) for text in words)
