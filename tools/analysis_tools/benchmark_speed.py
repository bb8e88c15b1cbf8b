#!/usr/bin/env python
"""Measure the speed of this package against a plain program and the bare image encoder.

Three programs run alternately on inputs with the shape of each benchmark and seeded weights of
ViT-B/16's size: (a) a plain step-by-step implementation of the published procedure, below; (b) this
package, as in ``tools/test.py``; (c) only CLIP's image encoder on the same windows, a lower bound.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import ctypes
import gc
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.apis import init_model
from mmseg.structures import SegDataSample
from mmseg.utils import get_predefined_templates
from torch import Tensor, nn

import sclip_mmseg
from sclip_mmseg import InputError
from sclip_mmseg.apis.blocks import ROWS, BlockSegmenter
from sclip_mmseg.apis.sizes import resize_steps
from sclip_mmseg.datasets import load_queries
from sclip_mmseg.memory import describe_makers
from sclip_mmseg.memory.files import BankInfo
from sclip_mmseg.models import CLIPTextHead, View
from sclip_mmseg.models.pamr import pamr
from sclip_mmseg.models.text_embeddings import save_embeddings, tokenize
from sclip_mmseg.models.trained import SAM3Encoder
from sclip_mmseg.models.windows import window_grid
from sclip_mmseg.rasters.detecting import reads_maps
from sclip_mmseg.rasters.reading import open_raster
from sclip_mmseg.towers import DINO, VisionTransformer
from sclip_mmseg.utils.compat import openai_clip
from sclip_mmseg.utils.program import as_program

ROOT = Path(__file__).resolve().parents[2]
Size = tuple[int, int]
Runs = dict[str, Callable[[], object]]


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


# (a) The published procedure, following the papers of SCLIP and PAMR.


def plain_csa(visual: nn.Module, crop: Tensor) -> Tensor:
    """SCLIP's L2-normalised patch features ``[h, w, D]`` of a crop ``[1, 3, H, W]``."""
    x = visual.conv1(crop)
    grid = x.shape[-2:]
    x = torch.cat([visual.class_embedding[None, None], x.flatten(2).transpose(1, 2)], 1)
    x = visual.ln_pre(x + visual.positional_embedding).transpose(0, 1)  # only for crops of 224
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    attn, x = last.attn, x.transpose(0, 1)
    qkv = F.linear(last.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1)
    )
    scale = q.shape[-1] ** -0.5
    weights = sum((scale * a @ a.transpose(-1, -2)).softmax(-1) for a in (q, k))
    x = x + attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    x = x + last.mlp(last.ln_2(x))
    features = visual.ln_post(x) @ visual.proj
    return F.normalize(features[0, 1:].float(), dim=-1).unflatten(0, grid)


def plain_pamr(query_map: Tensor, image: Tensor, steps: int, dilations=(8, 16)) -> Tensor:
    """PAMR of a map ``[Q, H, W]`` with a guide ``[3, H, W]``, all neighbours in one tensor."""

    def around(x: Tensor, centre: bool) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x[None], [max(dilations)] * 4, mode='replicate')[0]
        shifts = [
            (max(dilations) + y * d, max(dilations) + x * d)
            for d in dilations
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
            if centre or (y, x) != (0, 0)
        ]
        return torch.stack([padded[:, y : y + height, x : x + width] for y, x in shifts], 1)

    sigma = around(image, True).std(1, keepdim=True)
    distance = (around(image, False) - image[:, None]).abs() / (1e-8 + 0.1 * sigma)
    affinity = (-distance.mean(0)).softmax(0)
    for _ in range(steps):
        query_map = (around(query_map, False) * affinity).sum(1)
    return query_map


def plain_segment(
    visual: nn.Module,
    text: Tensor,
    class_ids: Sequence[int],
    image: Tensor,
    size: Size,
    cfg: Config,
) -> tuple[Tensor, Tensor]:
    """Class scores ``[K, H, W]`` and classes ``[H, W]`` of a normalised image ``[3, h, w]``."""
    height, width = image.shape[-2:]
    total = image.new_zeros(len(text), height, width, dtype=torch.float32)
    count = image.new_zeros(height, width, dtype=torch.float32)
    test_cfg = cfg.model.test_cfg
    for top, left, bottom, right in window_grid(
        (height, width), test_cfg.crop_size, test_cfg.stride
    ):
        features = plain_csa(visual, image[None, :, top:bottom, left:right])
        cosines = (features @ text.T).permute(2, 0, 1)[None]
        fine = F.interpolate(cosines, (bottom - top, right - left), mode='bilinear')[0]
        total += F.pad(fine, (left, width - right, top, height - bottom))
        count[top:bottom, left:right] += 1
    query_map = F.interpolate((total / count)[None], size, mode='bilinear')[0]
    if cfg.model.get('refine'):
        guide = F.interpolate(image[None].float(), size, mode='bilinear')[0]
        query_map = plain_pamr(query_map, guide, cfg.model.refine.num_steps)
    scores = (query_map * test_cfg.logit_scale).softmax(0)
    if max(class_ids) + 1 < len(class_ids):  # synonyms
        ids = torch.tensor(class_ids, device=scores.device)
        scores = (F.one_hot(ids).T[:, :, None, None] * scores).amax(1)
    best, classes = scores.max(0)
    return scores, classes.masked_fill(best < test_cfg.get('prob_thd', 0), 0)


def plain_text(clip: nn.Module, queries: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Embeddings ``[Q, D]`` of queries by openai-clip, one by one, with prompts of 77 tokens."""
    rows = []
    for query in queries:
        tokens = tokenize([template.format(query) for template in templates], 77)
        padded = torch.tensor([ids + [0] * (77 - len(ids)) for ids in tokens])
        device = clip.text_projection.device
        embeddings = F.normalize(clip.encode_text(padded.to(device)), dim=-1)
        rows.append(F.normalize(embeddings.mean(0), dim=-1))
    return torch.stack(rows)


# (b) and (c)


def write_seeded_clip(path: Path) -> None:
    """Write a CLIP of ViT-B/16's sizes with seeded weights."""
    torch.manual_seed(0)
    clip = openai_clip('model').CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
    torch.save(clip.half().state_dict(), path)


def write_seeded_dino(path: Path, patch_size: int) -> None:
    """Write a DINO of ViT-B's sizes with seeded random weights and Meta's names.

    With a patch size of 14, it is a DINOv2 with registers.
    """
    torch.manual_seed(0)
    sizes = dict(width=768, heads=12, depth=12, hidden=3072, patch_size=patch_size)
    more = dict(registers=4, layer_scale=True) if patch_size == 14 else {}
    sizes['positions'] = 1 + ((518 if more else 224) // patch_size) ** 2
    tower = VisionTransformer(**sizes, patch_bias=True, pre_norm=False, **more)
    for name, parameter in tower.named_parameters():
        if name in ('class_token', 'positions', 'registers') or 'scale' in name:
            torch.nn.init.normal_(parameter, std=0.02)
    torch.save({DINO.name_of(name): value for name, value in tower.state_dict().items()}, path)


def write_seeded_upsampler(path: Path) -> None:
    """Write a SimFeatUp with the sizes of the released one and seeded random weights."""
    torch.manual_seed(0)
    state = {f'up.{name}': torch.rand(()) for name in ('range_temp', 'sigma_spatial')}
    for name, shape in (
        ('up.range_proj.0', (32, 3)),
        ('up.range_proj.3', (32, 32)),
        ('up.fixup_proj.0', (121, 124)),
        ('up.fixup_proj.3', (121, 121)),
        ('fixup_proj.1', (512, 512)),
    ):
        state[f'{name}.weight'] = torch.randn(*shape, 1, 1) * shape[1] ** -0.5
        state[f'{name}.bias'] = torch.zeros(shape[0])
    torch.save(state, path)


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
    makers = describe_makers(cfg.model.image_encoder, None, 8)
    folder.mkdir()
    info = BankInfo(makers, None, {}, [('photo', '', count)])
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


# Measuring


def measure(runs: Runs, repeats: int, device: str = 'cpu') -> dict:
    """Time programs alternately, after a warm-up run of each.

    Returns:
        For each program, median seconds, median CPU seconds (which vary less on a busy machine) and
        peak additional memory in bytes; ratios of each program to the later ones, as medians over
        rounds.
    """
    peaks = {name: peak_memory(run, device) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start, used = time.perf_counter(), time.process_time()
            run()  # ends with a copy to the CPU
            times[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    ratios = {
        f'{x}/{y}': statistics.median(s / t for s, t in zip(times[x], times[y]))
        for x, y in itertools.combinations(runs, 2)
    }
    medians, used = (
        {name: statistics.median(values) for name, values in each.items()} for each in (times, cpu)
    )
    return dict(seconds=medians, cpu_seconds=used, memory=peaks, ratios=ratios, all_seconds=times)


def peak_memory(run: Callable[[], object], device: str) -> int | None:
    """Peak additional memory of a run in bytes.

    On the CPU it is that of the process, on Linux only; None on other systems.
    """
    gc.collect()
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    status = Path('/proc/self/status')
    if not status.is_file():
        run()
        return None

    def resident(key: str) -> int:
        [line] = [line for line in status.read_text().splitlines() if line.startswith(f'{key}:')]
        return int(line.split()[1]) * 1024

    ctypes.CDLL(None).malloc_trim(0)  # free memory in the heap would hide allocations
    Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    before = resident('VmRSS')
    run()
    return resident('VmHWM') - before


def environment() -> dict:
    """Versions and hardware of the measurement."""
    return dict(
        sclip_mmseg=sclip_mmseg.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cpu=platform.processor() or platform.machine(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def report(name: str, result: dict) -> None:
    """Print the result of a case in one line."""
    seconds = '  '.join(f'{key} {value:.3f} s' for key, value in result['seconds'].items())
    ratios = '  '.join(f'{key} {value:.2f}' for key, value in result['ratios'].items())
    memory = '  '.join(
        f'{key} {value / 2**20:.0f} MiB' for key, value in result['memory'].items() if value
    )
    print(f'{name}: {seconds} | {ratios} | {memory}', flush=True)


def new_parser(description: str, repeats: int) -> argparse.ArgumentParser:
    """Parser with the common options of both benchmark programs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--repeats', type=int, default=repeats, help='measured rounds (default: %(default)s)'
    )
    parser.add_argument('--threads', type=int, default=2, help='CPU threads (default: 2)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, and set the number of threads.

    Raises:
        InputError: If the device is not available.
    """
    args = parser.parse_args(arguments)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: no CUDA device is available, use --device cpu')
    torch.set_num_threads(args.threads)
    return args


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
