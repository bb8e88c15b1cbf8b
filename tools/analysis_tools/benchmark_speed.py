#!/usr/bin/env python
"""Measure the speed of this package against a plain program and the bare image encoder.

Three programs run alternately on inputs with the shape of each benchmark and seeded weights of
ViT-B/16's size: (a) a plain step-by-step implementation of the published procedure; (b) this
package, as in ``tools/test.py``; (c) only CLIP's image encoder on the same windows, a lower bound.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from measuring import Runs, environment, measure, new_parser, parse, report
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.structures import SegDataSample
from mmseg.utils import get_predefined_templates
from plain_program import plain_pamr, plain_segment, plain_text
from seeded_weights import write_seeded_clip, write_seeded_dino, write_seeded_upsampler
from torch import Tensor, nn

from sclip_mmseg import InputError
from sclip_mmseg.apis.blocks import ROWS, BlockSegmenter
from sclip_mmseg.apis.sizes import resize_steps
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.memory import describe_models
from sclip_mmseg.memory.files import BankInfo
from sclip_mmseg.models import CLIPTextHead, View
from sclip_mmseg.models.pamr import pamr
from sclip_mmseg.models.text_embeddings import save_embeddings
from sclip_mmseg.models.trained import SAM3Encoder
from sclip_mmseg.models.windows import window_grid
from sclip_mmseg.rasters.detecting import reads_maps
from sclip_mmseg.rasters.reading import open_raster
from sclip_mmseg.utils.compat import openai_clip
from sclip_mmseg.utils.program import as_program

ROOT = Path(__file__).resolve().parents[2]
Size = tuple[int, int]


class Case(NamedTuple):
    """A measured case.

    Attributes:
        config: Name of a shipped config.
        size: Height and width of the photograph.
        resized: Height and width of the model's input.
        queries: Query list that replaces the config's; None for the config's.
    """

    config: str
    size: Size
    resized: Size
    queries: str | None = None


# Compared with the plain program, with the shape of each benchmark.
CASES = {
    f'{benchmark}{suffix}': Case(f'sclip{suffix}_vit-b16_{benchmark}', size, resized)
    for benchmark, size, resized in (
        ('ade20k', (512, 683), (336, 448)),
        ('coco_stuff164k', (480, 640), (448, 597)),
        ('coco_object', (480, 640), (336, 448)),
        ('cityscapes', (1024, 2048), (560, 1120)),
    )
    for suffix in ('', '-pamr10')
}
# Compared with the bare towers on the same windows: methods by the names of their configs.
_SMALL = (
    'sclip scclip sfp rfclip pearl gem proxyclip-dino-b16 proxyclip-dino-b8 corrclip naclip '
    'resclip-naclip'
).split()
_LARGE = 'ovstitcher trident-coarse tcl tcl-pamr'.split()
_TRAINED = 'groupvit-unified_vit-s16 talk2dino_vit-b14 talk2dino-pamr_vit-b14'.split()
METHODS = {
    name: Case(f'{name}_context59', (375, 500), resized)
    for names, resized in (
        ([f'{method}_vit-b16' for method in _SMALL], (336, 448)),
        ([*(f'{method}_vit-b16' for method in _LARGE), *_TRAINED], (448, 597)),
    )
    for name in names
}
METHODS['sam3'] = Case('sam3_voc21', (375, 500), (375, 500))
METHODS['segearth_vit-b16'] = Case('segearth_vit-b16_openearthmap', (1000, 1000), (448, 448))
# Cases of docs/which_method.md: a photograph with 20 and 150 own classes.
COMPARED = {
    f'{config.partition("_")[0]}-{count}': Case(config, (375, 500), resized, queries)
    for resized, configs in (
        (
            (336, 448),
            'scclip_vit-b16_voc20 rfclip-pamr_vit-b16_voc20 proxyclip-dino-b8_vit-b16_voc20 '
            'corrclip_vit-b16_voc20 trident_vit-b16_voc20 segearth_vit-b16_openearthmap',
        ),
        (
            (448, 597),
            'ovstitcher_vit-b16_voc20 groupvit-unified_vit-s16_voc20 tcl-pamr_vit-b16_voc20 '
            'talk2dino_vit-b14_voc20 talk2dino-pamr_vit-b14_voc20',
        ),
        ((375, 500), 'sam3_voc20'),
    )
    for config in configs.split()
    for count, queries in ((20, 'plain_voc20'), (150, 'plain_ade20k'))
}


def read_case(case: Case, clip: str, folder: Path, precision: str = 'fp32') -> Config:
    """The config of a case, with random text embeddings of its queries."""
    [path] = ROOT.glob(f'configs/*/{case.config}.py')
    cfg = Config.fromfile(path)
    cfg.model.text_head.queries = case.queries or cfg.model.text_head.queries
    query_set = load_queries(cfg.model.text_head.queries)
    encoder = cfg.model.image_encoder
    width = 256 if 'groupvit' in case.config else 768 if 'tower' in encoder else 512
    text = torch.randn(len(query_set.queries), width, generator=torch.Generator().manual_seed(0))
    if cfg.model.text_head.type != 'SAM3TextHead':  # its features are per token
        embeddings = folder / f'{case.config}.npz'
        save_embeddings(embeddings, query_set, F.normalize(text, dim=-1))
        cfg.model.text_head.embeddings = str(embeddings)
    if 'clip' in encoder:
        encoder.clip = clip
    encoder.precision = precision
    cfg.model.test_cfg.seg_logits = False  # as in tools/test.py
    return cfg


def random_photo(size: Size) -> Tensor:
    """A random image with structures of several sizes, uint8 ``[3, *size]``."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        F.interpolate(torch.rand(1, 3, cells, cells, generator=generator), size, mode='bilinear')
        for cells in (4, 16, 64)
    ]
    return (sum(layers)[0] * 85).to(torch.uint8)


def package(model: nn.Module, case: Case) -> Callable[[], object]:
    """A function that segments a photograph like ``tools/test.py``."""
    photo, pixels = random_photo(case.resized), np.zeros((*case.size, 3), np.uint8)

    def run():
        # Input of SAM; the content of the pixels does not matter.
        info = dict(ori_shape=case.size, img_path='photo.jpg', pixels=pixels)
        sample = SegDataSample(metainfo=info)
        [result] = model.test_step(dict(inputs=[photo], data_samples=[sample]))
        return result.pred_sem_seg.data.cpu()

    return run


def openai_model(clip: str, device: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """openai-clip's model built from a state dict, for (a) and (c)."""
    model = openai_clip('model').build_model(torch.load(clip, weights_only=True)).to(dtype)
    return model.to(device).eval()


def crops_of(model: nn.Module, case: Case) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The preprocessed photograph ``[3, h, w]``, and batches of its windows."""
    [image] = model.data_preprocessor(dict(inputs=[random_photo(case.resized)]))['inputs']
    size, stride = model.windows.crop_size, model.windows.stride
    windows = window_grid(case.resized, size, stride)
    crops = [image[:, top:bottom, left:right] for top, left, bottom, right in windows]
    return image, torch.stack(crops).split(model.window_batch(size))


def programs(cfg: Config, model: nn.Module, case: Case) -> Runs:
    """The three programs of a case, by letter."""
    tower = model.image_encoder.tower
    visual = openai_model(cfg.model.image_encoder.clip, tower.device, tower.dtype).visual
    image, batches = crops_of(model, case)
    head = model.text_head

    @torch.no_grad()
    def plain():
        pixels, class_ids = image.to(tower.dtype), head.query_set.class_ids
        return plain_segment(visual, head.embeddings, class_ids, pixels, case.size, cfg)[1].cpu()

    @torch.no_grad()
    def bare():
        return [visual(batch.to(tower.dtype)) for batch in batches][-1].cpu()

    return dict(a=plain, b=package(model, case), c=bare)


# Programs of each case


def shape_runs(case: Case, args: argparse.Namespace) -> Runs:
    """(a), (b) and (c) on inputs with the shape of a benchmark."""
    cfg = read_case(case, args.clip, args.folder, args.precision)
    runs = programs(cfg, init_model(cfg, device=args.device), case)
    return {key: runs[key] for key in sorted(set(args.programs))}


def method_runs(case: Case, args: argparse.Namespace) -> Runs:
    """A method, and its bare towers on the same windows.

    Raises:
        InputError: If the method needs a checkpoint whose option is not set.
    """
    cfg = read_case(case, args.clip, args.folder, args.precision)
    encoder_cfg = cfg.model.image_encoder
    if 'checkpoint' in encoder_cfg:
        name = case.config.partition('_')[0].partition('-')[0]
        encoder_cfg.checkpoint = getattr(args, name)
        if encoder_cfg.checkpoint is None:
            raise InputError(f'{case.config} needs a checkpoint: give --{name}')
    if encoder_cfg.get('tower'):
        encoder_cfg.tower.checkpoint = str(args.folder / 'dino.pth')
        write_seeded_dino(args.folder / 'dino.pth', 14)
    if encoder_cfg.get('proxy'):
        path = args.folder / f'{encoder_cfg.proxy.checkpoint}.pth'
        write_seeded_dino(path, 8 if path.stem.endswith('8') else 16)
        encoder_cfg.proxy.checkpoint = str(path)
    if encoder_cfg.get('upsampler'):
        encoder_cfg.upsampler.checkpoint = str(args.folder / 'upsampler.pt')
        write_seeded_upsampler(args.folder / 'upsampler.pt')
    if encoder_cfg.get('sam'):
        from transformers import SamConfig, SamModel

        encoder_cfg.sam.checkpoint = str(args.folder / 'sam')
        SamModel(SamConfig()).save_pretrained(args.folder / 'sam')
    if cfg.model.get('region_masks'):
        regions = np.arange(48).reshape(6, 8).repeat(63, 0).repeat(63, 1)
        np.savez(args.folder / 'photo.npz', instance_mask=regions[: case.size[0], : case.size[1]])
        cfg.model.region_masks = f'{args.folder}/{{stem}}.npz'
    model = init_model(cfg, device=args.device)
    encoder = model.image_encoder
    image, batches = crops_of(model, case)
    queries = len(model.text_head.embeddings)
    if isinstance(encoder, SAM3Encoder):
        return dict(package=package(model, case), towers=partial(_bare_sam3, model, image))
    if case.config.startswith('rfclip'):
        batches = image[None], *batches  # RF-CLIP encodes the whole image too

    def run_towers(batch: Tensor) -> Tensor:
        if not hasattr(encoder, 'method'):  # a trained system
            features = encoder.features(View(batch), model.text_head)
            if encoder_cfg.get('tower') and encoder.refine:  # refines maps of the window's size
                return encoder.refine(batch[:, :1].expand(-1, queries, -1, -1), batch)
            return features
        batch = batch.to(encoder.tower.dtype)
        out = encoder.tower(batch)
        return out if encoder.proxy is None else encoder.proxy(batch)

    @torch.no_grad()
    def bare():
        if encoder.sam is not None:
            encoder.sam.encode(np.zeros((*case.size, 3), np.uint8))
        return [run_towers(batch) for batch in batches][-1].cpu()

    return dict(package=package(model, case), towers=bare)


@torch.no_grad()
def _bare_sam3(model: nn.Module, image: Tensor) -> Tensor:
    """Only the calls of transformers' ``Sam3Model``, for all prompts."""
    encoder, head = model.image_encoder, model.text_head
    vision, geometry = encoder.encode_vision(image)
    step = encoder.prompt_batch()
    parts = zip(head.embeddings.split(step), head.valid.split(step))
    maps = [encoder.decode_prompts(vision, geometry, *part).semantic_seg for part in parts]
    return maps[-1].cpu()


def resclip_runs(args: argparse.Namespace) -> Runs:
    """ResCLIP on NACLIP (RCS and SFR), and NACLIP, with the shape of Context59."""
    names = 'resclip-naclip', 'naclip'
    return {name: method_runs(METHODS[f'{name}_vit-b16'], args)['package'] for name in names}


def pamr_runs(args: argparse.Namespace) -> Runs:
    """Only PAMR: 171 queries at 640×480, 10 steps."""
    query_map = torch.rand(480, 640, 171, device=args.device).permute(2, 0, 1)
    guide = random_photo((480, 640)).to(args.device).float()
    return dict(
        a=lambda: plain_pamr(query_map, guide, 10)[0, 0, 0].item(),
        b=lambda: pamr(query_map[None], guide[None], 10)[0, 0, 0, 0].item(),
    )


def text_runs(args: argparse.Namespace) -> Runs:
    """The text head: plain, cold (text tower loaded, no cache) and warm (from the cache)."""
    queries = load_queries('coco_stuff').queries[: args.text_queries]
    templates = get_predefined_templates('imagenet')
    warm = partial(CLIPTextHead, list(queries), templates, clip=args.clip)

    @torch.no_grad()
    def plain():
        return plain_text(openai_model(args.clip, args.device), queries, templates).cpu()

    def cold():
        os.environ['SCLIP_CACHE_DIR'] = tempfile.mkdtemp(dir=args.folder)
        warm()

    return dict(a=plain, cold=cold, warm=warm)


FIRST_IMAGE = """
import sys
import numpy as np, sclip_mmseg
from mmseg.apis import inference_model, init_model
options = {'model.image_encoder.clip': sys.argv[2]}
model = init_model(sys.argv[1], device='cpu', cfg_options=options)
inference_model(model, np.zeros((375, 500, 3), np.uint8))
"""


def startup_runs(args: argparse.Namespace) -> Runs:
    """Whole processes: help, and one image of VOC20 with cached queries."""
    env = dict(os.environ, SCLIP_CACHE_DIR=str(args.folder / 'startup'))
    config = ROOT / 'configs/sclip/sclip_vit-b16_voc20.py'
    commands = {
        'help': (ROOT / 'tools/test.py', '--help'),
        'first image': ('-c', FIRST_IMAGE, config, args.clip),
    }
    call = partial(subprocess.run, check=True, env=env, capture_output=True)
    return {name: partial(call, [sys.executable, *command]) for name, command in commands.items()}


def memory_runs(args: argparse.Namespace) -> Runs:
    """SC-CLIP with and without a bank of 100,000 regions, for an image of 99 regions."""
    case, folder, count = METHODS['scclip_vit-b16'], args.folder / 'bank', 100_000
    cfg = read_case(case, args.clip, args.folder, args.precision)
    cfg.model.region_masks = f'{args.folder}/{{stem}}.npz'
    cfg.model.postprocess = dict(type='RegionMajority')
    regions = np.arange(99).reshape(9, 11).repeat(42, 0).repeat(46, 1)[:375, :500]
    np.savez(args.folder / 'photo.npz', instance_mask=regions)
    models = describe_models(cfg.model.image_encoder, None, 8)
    folder.mkdir()
    info = BankInfo(models, None, {}, [('photo', '', count)])
    (folder / 'bank.json').write_text(json.dumps(asdict(info)))
    for name, width in (('keys', 768), ('values', 512), ('areas', 1)):
        np.save(folder / f'{name}.npy', torch.rand(count, width).half().numpy())
    own = package(init_model(cfg, device=args.device), case)
    cfg.model.memory = dict(bank=str(folder), weight=0.2, centred=True)  # as with --bank
    return dict(memory=package(init_model(cfg, device=args.device), case), own=own)


MAP_SIDE = 784  # pixels


def map_runs(args: argparse.Namespace) -> Runs:
    """A map at native size, half of it without data, and the tower on the windows with data."""
    import rasterio

    case, path, side = METHODS['sclip_vit-b16'], args.folder / 'map.tif', MAP_SIDE
    cfg = read_case(case, args.clip, args.folder, args.precision)
    cfg.test_pipeline = resize_steps(cfg.test_pipeline, 'native')
    model = init_model(cfg, device=args.device)
    pixels = random_photo((side, side)).clamp(min=1).numpy()
    pixels[..., : side // 2] = 0
    kind = dict(driver='GTiff', count=3, dtype='uint8', photometric='rgb', nodata=0)
    with rasterio.open(path, 'w', width=side, height=side, **kind) as file:
        file.write(pixels)
    crop, stride = model.windows.sizes((side, side))
    seen = [
        window for window in window_grid((side, side), crop, stride) if window.right > side // 2
    ]
    batches = torch.rand(len(seen), 3, *crop, device=args.device).split(model.window_batch(crop))

    def blocks():
        with open_raster(path) as raster:
            segmenter = BlockSegmenter(model, raster)
            starts = range(0, side, ROWS)
            return [segmenter.segment(slice(top, min(top + ROWS, side))) for top in starts]

    @torch.no_grad()
    def bare():
        tower = model.image_encoder.tower
        return [tower(batch.to(tower.dtype)) for batch in batches][-1].cpu()

    return dict(map=blocks, towers=bare)


OTHERS = dict(
    resclip=resclip_runs,
    memory=memory_runs,
    map=map_runs,
    pamr=pamr_runs,
    text=text_runs,
    startup=startup_runs,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the selected cases; print and save the results."""
    parser = new_parser(__doc__.partition('\n')[0], repeats=5)
    usual = [*CASES, *METHODS, *OTHERS]
    known = [*usual, *COMPARED]
    left_out = ('tcl', 'groupvit', 'sam3', 'naclip', 'res', *([] if reads_maps() else ['map']))
    default = [case for case in usual if not case.startswith(left_out)]
    parser.add_argument('--cases', nargs='+', choices=known, default=default, metavar='CASE')
    parser.add_argument(
        '--programs', nargs='+', choices='abc', default='abc', help='default: all three'
    )
    parser.add_argument(
        '--precisions', nargs='+', choices=['fp32', 'fp16', 'bf16'], default=['fp32']
    )
    parser.add_argument(
        '--text-queries', type=int, default=8, help='queries of the text head (default: 8)'
    )
    parser.add_argument('--groupvit', help='checkpoint of GroupViT, for its cases')
    parser.add_argument('--tcl', help='checkpoint of TCL, for its cases')
    parser.add_argument('--sam3', help='checkpoint of SAM 3, for its case')
    parser.add_argument('--out', default='benchmark_speed.json', help='JSON file of all results')
    with as_program(), tempfile.TemporaryDirectory() as folder:
        args = parse(parser, arguments)
        args.folder = Path(folder)
        args.clip = str(args.folder / 'seeded.pt')
        write_seeded_clip(args.clip)
        results = {}
        for precision, name in itertools.product(args.precisions, args.cases):
            args.precision = precision
            if name in OTHERS:
                runs = OTHERS[name](args)
            elif name in COMPARED:
                runs = {'package': method_runs(COMPARED[name], args)['package']}
            elif name in METHODS:
                runs = method_runs(METHODS[name], args)
            else:
                runs = shape_runs(CASES[name], args)
            result = measure(runs, args.repeats, args.device)
            results[f'{name} {args.device} {precision}'] = result
            report(f'{name} {precision}', result)
            text = json.dumps(dict(environment(), results=results), indent=2)
            Path(args.out).write_text(text + '\n')


if __name__ == '__main__':
    main()
