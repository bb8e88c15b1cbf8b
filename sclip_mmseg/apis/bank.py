"""Memory banks of your own images: what ``sclip bank build`` does."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..engine.loader_workers import count_cores
from ..memory import BankWriter, describe_models
from ..memory.files import REGIONS, BankInfo, write_part
from ..models import CLIPSegmentor
from ..models.image_encoder import CLIPImageEncoder
from ..models.memory import find_keys, pool_image
from ..regions import ARRAY, GeneratedRegions, RegionFiles, check_regions, find_generator
from ..towers import count_blocks
from ..utils.arrays import read_arrays
from ..utils.errors import InputError
from ..utils.files import sha256_of
from ..utils.precision import own_precision
from ..utils.processes import map_in_processes
from ..zoo import default_method
from .inputs import find_media, is_video
from .media import read_image
from .own_config import own_config
from .segment import build_segmentor, to_data

CLASSES = ['region', 'picture']  # a model needs classes; features do not depend on them
_OF_REGIONS = 'model.region_masks.'
DEPTH = 2 / 3  # default depth of CLIP's block for the keys, if there is no second tower


def build_bank(
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    method: str | None = None,
    clip: str | None = None,
    proxy: str | None = None,
    regions: str = 'felzenszwalb',
    block: int | None = None,
    processes: int = 1,
    device: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    second_clip: str | None = None,
) -> BankInfo:
    """Build a memory bank of unlabelled images, or extend one.

    Images whose content is already in the bank are left out, and damaged ones are skipped. For
    each region the bank holds the mean feature of the method; its key is the mean feature of a
    second tower or the mean output of one of CLIP's blocks.

    Args:
        images: An image or folder of images, or several of them.
        out: Folder of the bank.
        method: One of :func:`.segment.list_methods`, or the path of a config; None for the default.
        clip: A CLIP by name or path; None for the method's default.
        proxy: A second tower for the keys; None for the method's second tower, or a block of CLIP
            if it has none.
        regions: ``'felzenszwalb'``, ``'sam2'``, ``'sam'``, or a folder of ``NAME.npz`` whose array
            ``instance_mask`` holds ids ``[H, W]``, 0 for no region, or masks ``[M, H, W]``, which
            may overlap. Images without a file there are left out.
        block: Block of CLIP for the keys, counted from 1; None for the one at two thirds, 8 of 12.
        processes: Number of processes, which divide the images.
        device: Device of the model; None for the accelerator if there is one.
        cfg_options: Further values of the config by dotted keys.
        second_clip: A second CLIP whose features are stored, too, for ``model.memory.clip``.

    Returns:
        Description of the bank.

    Raises:
        InputError: If an argument is invalid, the folder holds another bank, or no image has a
            region.

    Warns:
        UserWarning: Which images are skipped, and why.
    """
    given = [images] if isinstance(images, (str, Path)) else images
    paths = [Path(path) for path in given]
    files = [path for path in find_media(paths) if not is_video(path)]
    folder = str(Path(regions) / '{stem}.npz') if Path(regions).is_dir() else None
    generator = None if folder else dict(find_generator(regions))
    if generator and generator['type'] == REGIONS['type']:
        generator = REGIONS.copy()
    if generator:
        values = (cfg_options or {}).items()
        generator |= {k[len(_OF_REGIONS) :]: v for k, v in values if k.startswith(_OF_REGIONS)}
    if folder:
        maps = RegionFiles(folder)
        lacking = [path for path in files if not maps.path(str(path)).is_file()]
        if lacking:
            warnings.warn(
                f'{len(lacking)} of {len(files)} images have no region map in {regions} and are '
                f'left out, the first is {lacking[0]}',
                stacklevel=2,
            )
        files = [path for path in files if path not in {*lacking}]
        maps.check_names(files)
    if not files:
        raise InputError(f'none of the images has a region map in {regions}: see --regions')
    model = _describe(method or default_method(clip), clip, proxy, cfg_options or {})
    encoder = model.encoder
    if encoder.type != 'CLIPImageEncoder':
        raise InputError(f"'{model.method}' does not run on CLIP: name another --method")
    if encoder.method.type == 'ResCLIP':
        raise InputError('the features of ResCLIP depend on the classes: name another --method')
    tower = proxy or (encoder.get('proxy') or {}).get('checkpoint')
    if tower is not None and block is not None:
        raise InputError(
            f'keys are from a block or from {tower}, not both: leave --block or --proxy out'
        )
    if tower is None:
        block = block or round(count_blocks(encoder.clip) * DEPTH)
    settings = dict(windows=dict(model.cfg.model.test_cfg), scale=model.cfg.test_pipeline[1].scale)
    info = BankInfo(describe_models(encoder, tower, block, second_clip), generator, settings)
    writer = BankWriter(Path(out), info)
    names: dict[str, Path] = {}
    for path in files:
        names.setdefault(sha256_of(path), path)
    todo = [item for item in names.items() if not writer.has(item[0])]
    clips = clip, *([second_clip] if second_clip else [])
    worker = Worker(model.method, clips, model.options, folder or generator, device, tower, block)
    add = partial(_add, worker, Path(out), processes)
    if todo and processes == 1:
        _kept(worker).build()  # what it logs would interrupt the progress bar
    results = map_in_processes(add, todo, processes, desc='bank', unit='image')
    if errors := [error for error in results if error]:
        warnings.warn(
            f'{len(errors)} of {len(files)} images are not in the bank: {"; ".join(errors[:5])}',
            stacklevel=2,
        )
    info = writer.finish({digest: path.name for digest, path in names.items()})
    if not info.count:
        raise InputError(f'{out} holds no regions: none of the images has any')
    return info


class _Model(NamedTuple):
    """The model that computes the features of a bank.

    Attributes:
        method: Name of the method, or path of its config.
        cfg: Config of the method.
        encoder: Config of the image encoder that will use the bank.
        options: Values of the config of the model that computes the stored features.
    """

    method: str
    cfg: Config
    encoder: Any
    options: Mapping[str, Any]


def _describe(
    method: str, clip: str | None, proxy: str | None, options: Mapping[str, Any]
) -> _Model:
    options = {**options, 'model.memory': None}
    cfg = own_config(CLASSES, False, method, clip, options).cfg
    encoder = copy.deepcopy(cfg.model.image_encoder)
    if encoder.get('method', {}).get('type') == 'CorrCLIPv2':
        # The authors compute the stored features so, whatever the second tower for the keys is.
        given = options.get('model.image_encoder.proxy.checkpoint', 'dino_vitb8')
        encoder.proxy.checkpoint = proxy or encoder.proxy.checkpoint
        options = {
            'test_pipeline.1.scale': (2048, 448),
            **options,
            'model.image_encoder.method.type': 'CorrCLIP',
            'model.image_encoder.proxy.checkpoint': given,
        }
        cfg = own_config(CLASSES, False, method, clip, options).cfg
    return _Model(method, cfg, encoder, options)


class Worker:
    """Computes the rows of images; each process builds the model on first use.

    Args:
        method, options, device: See :func:`.segment.build_segmentor`.
        clips: The CLIP, and the second one if there is one; None for the method's default.
        regions: A generator, or the pattern of region files.
        tower, block: See :func:`..models.memory.find_keys`.
    """

    def __init__(
        self,
        method: str,
        clips: Sequence[str | None],
        options: Mapping[str, Any],
        regions: str | dict[str, Any] | None,
        device: str | None,
        tower: str | None,
        block: int | None,
    ):
        self.files = RegionFiles(regions) if isinstance(regions, str) else None
        generator = 'felzenszwalb' if self.files else regions
        more = device, dict(options), generator, None, 'fp32'
        self.arguments = [(CLASSES, False, method, clip, *more) for clip in clips]
        self.key = dict(tower=tower, block=block)
        self.made_of = self.arguments, self.key, regions
        self.built: tuple[list[CLIPSegmentor], Any] | None = None

    def build(self) -> tuple[list[CLIPSegmentor], Any]:
        """Build the models, one for each CLIP, and the module that computes keys.

        Raises:
            InputError: If they cannot be built.
        """
        if self.built is None:
            models = [build_segmentor(*each) for each in self.arguments]
            self.built = models, find_keys(models[0].image_encoder, self.key)[0]
        return self.built

    @torch.no_grad()
    @own_precision()
    def pool(self, path: Path) -> list[Tensor]:
        """Entries of an image's regions in the bank, see :func:`..models.memory.pool_image`.

        Raises:
            InputError: If the image or its regions are invalid.
        """
        models, keys = self.build()
        image = read_image(path)
        size = image.shape[:2]
        if self.files is None:
            assert isinstance(models[0].regions, GeneratedRegions)
            maps = [models[0].regions.make(image, size)]
        else:
            maps = read_masks(self.files.path(str(path)), size)
        ids = torch.zeros_like(maps[0])
        for number, each in enumerate(maps):  # masks are painted over earlier ones
            ids = torch.where(each != 0, each + number, ids) if number else each
        seen = []
        for model in models:
            data = model.data_preprocessor(to_data(model, image, str(path), ids.numpy()))
            [windowed] = model.windowed_images(data['inputs'], data['data_samples'])
            assert isinstance(model.image_encoder, CLIPImageEncoder)
            seen.append((model.image_encoder, windowed, model.text_head))
        maps = [each.to(windowed.view.images.device) for each in maps]
        return pool_image(keys, seen, maps, size)


def _add(worker: Worker, folder: Path, processes: int, item: tuple[str, Path]) -> str:
    """Write the part of an image; returns what is wrong with the image, or an empty text."""
    digest, path = item
    if processes > 1:
        torch.set_num_threads(max(count_cores() // processes, 1))
    kept = _kept(worker)
    kept.build()  # outside of try: an error of the model concerns all images
    try:
        write_part(folder, digest, *kept.pool(path))
    except InputError as error:
        return str(error)
    return ''


_KEPT: list[Worker] = []


def _kept(worker: Worker) -> Worker:
    """The worker of this process, which keeps its model; each call brings a copy without one."""
    if not _KEPT or _KEPT[0].made_of != worker.made_of:
        _KEPT[:] = [worker]
    return _KEPT[0]


def read_masks(path: Path, size: Sequence[int]) -> list[Tensor]:
    """Read a map of ids, or masks, which may overlap, as one map of 0 and 1 each.

    Raises:
        InputError: If they are of another kind, or another size than the image.
    """
    found = read_arrays(path, [ARRAY], f'region map {path}')[ARRAY]
    masks = found[None] if found.ndim == 2 else found.astype(np.uint8)
    return [check_regions(each, (size[0], size[1]), f'region map {path}') for each in masks]
