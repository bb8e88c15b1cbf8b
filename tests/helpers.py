"""Helpers of several tests: models, data, and running programs."""

import contextlib
import copy
import functools
import hashlib
import importlib.util
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.registry import MODELS
from paths import ROOT
from PIL import Image

from sclip_mmseg.models import View
from sclip_mmseg.towers import DINO, VisionTransformer, Weights, build_image_tower
from sclip_mmseg.towers.layouts import OPENAI_IMAGE
from sclip_mmseg.utils.compat import openai_clip
from sclip_mmseg.visualization import OverlayVisualizer

IGNORED_BY_PYTHON = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)
VOCABULARY, TEXT_WIDTH = 49408, 64  # of CLIP's tokenizer; of the small CLIP's text tower


def seeded_clip(seed=0, *, layers=3, width=128, embed_dim=32, patch_size=16, resolution=224):
    """State dict of a small CLIP in OpenAI's layout, with enough variance to tell patches apart."""
    torch.manual_seed(seed)
    model = openai_clip('model').CLIP(
        embed_dim=embed_dim,
        image_resolution=resolution,
        vision_layers=layers,
        vision_width=width,
        vision_patch_size=patch_size,
        context_length=77,
        vocab_size=VOCABULARY,
        transformer_width=TEXT_WIDTH,
        transformer_heads=1,
        transformer_layers=2,
    )
    for name, parameter in model.named_parameters():
        if name.endswith('weight') and parameter.ndim == 2 and 'token' not in name:
            parameter.data.normal_(std=parameter.shape[1] ** -0.5)
    model.visual.positional_embedding.data.normal_(std=0.5)
    state = model.state_dict()
    # Rows that share their numbers: most of the file otherwise, of which tests write many.
    numbers = torch.randn(VOCABULARY + TEXT_WIDTH - 1) * 0.02
    state['token_embedding.weight'] = numbers.as_strided((VOCABULARY, TEXT_WIDTH), (1, 1))
    return state


def seeded_tower(layers, dtype=torch.float32, device='cpu'):
    """Image tower of a small CLIP."""
    tower = build_image_tower(Weights(seeded_clip(layers=layers), OPENAI_IMAGE, 'seeded'))
    tower.set_precision(dtype)
    return tower.to(device)


def seeded_images(device, *size):
    """Images, or any other numbers, the same on every device."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(0)).to(device)


def run_method(method, tower, images):
    """Features of images by a method that needs no text."""
    with torch.no_grad():
        return method(tower, View(images), None)


def write_sam(folder):
    """Write a small seeded SAM in the layout of transformers, and return the folder's path."""
    transformers = pytest.importorskip('transformers')

    torch.manual_seed(0)
    vision = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_dim=32)
    config = transformers.SamConfig(vision_config=dict(vision, global_attn_indexes=[1]))
    model = transformers.SamModel(config)
    for parameter in model.parameters():  # transformers leaves some at 0
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return str(folder)


def seeded_sam3():
    """State dict of a small seeded SAM 3 as transformers names it, whose input is as large."""
    from transformers import Sam3Config, Sam3Model

    torch.manual_seed(0)
    parts = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2)
    vision = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1)
    text = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    config = Sam3Config(
        vision_config=dict(
            backbone_config=dict(vision, model_type='sam3_vit_model', global_attn_indexes=[1]),
            fpn_hidden_size=16,
        ),
        text_config=dict(text, projection_dim=8, max_position_embeddings=32, hidden_act='gelu'),
        geometry_encoder_config=dict(parts, num_layers=1),
        detr_encoder_config=dict(parts, num_layers=1),
        detr_decoder_config=dict(parts, num_layers=1, num_queries=4),
        mask_decoder_config=dict(hidden_size=16, num_attention_heads=2),
    )
    model = Sam3Model(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.state_dict()


def seeded_dino(seed=0, *, width=128, depth=2, patch_size=8, side=4, registers=0, scale=False):
    """State dict of a small DINO (with registers or LayerScale DINOv2) as Meta names it."""
    torch.manual_seed(seed)
    tower = VisionTransformer(
        width=width,
        heads=width // 64,
        depth=depth,
        hidden=2 * width,
        patch_size=patch_size,
        positions=side**2 + 1,
        registers=registers,
        patch_bias=True,
        layer_scale=scale,
        **DINO.options,
    )
    state = {}
    for name, value in tower.state_dict().items():
        leading = {'class_token': 2, 'registers': 1, 'positions': 1}.get(name, 0)
        drawn = torch.randn_like(value) * (1 if leading else max(value[0].numel(), 16) ** -0.5)
        state[DINO.name_of(name)] = drawn[(None,) * leading]
    return state


def make_voc(root, sizes=((90, 120), (130, 100), (100, 100))):
    """Write random images with labels 0 to 20 in VOC's layout below `root`; return `root`."""
    voc = root / 'VOCdevkit/VOC2012'
    rng = np.random.default_rng(0)
    names = [f'image_{index}' for index in range(len(sizes))]
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (voc / folder).mkdir(parents=True)
    for name, size in zip(names, sizes):
        blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize(size[::-1], Image.BILINEAR).save(
            voc / f'JPEGImages/{name}.jpg'
        )
        labels = rng.integers(0, 21, (4, 4), dtype=np.uint8)
        Image.fromarray(labels).resize(size[::-1], Image.NEAREST).save(
            voc / f'SegmentationClass/{name}.png'
        )
    (voc / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(names) + '\n')
    return root


def require(available, what):
    """Skip where something optional is absent; fail in CI, which is to have it."""
    if not available:
        (pytest.fail if os.environ.get('CI') else pytest.skip)(f'{what} is not installed')


# What tests need and a device has not.
LACKING = {'mps': ('float64',), 'other': ('tracing',)}


def needs(device, what):
    """Skip where the device lacks `what` a test needs: 'float64', or 'tracing' by a compiler."""
    if what in LACKING.get(device.type, ()):
        pytest.skip(f'{what} does not exist on devices of type {device.type}')


def each_case(cases, quick):
    """Run a test with each named case; those that are not quick ones are slow tests."""
    marks = {name: () if name in quick else pytest.mark.slow for name in cases}
    each = [pytest.param(case, id=name, marks=marks[name]) for name, case in cases.items()]
    return pytest.mark.parametrize('case', each)


def config_path(name):
    """Path of a shipped config by its file name without `.py`."""
    [path] = ROOT.glob(f'configs/*/{name}.py')
    return path


def load_config(name, clip_path=None, **options):
    """Read a shipped config by its file name without `.py`, and override values by dotted keys."""
    cfg = copy.deepcopy(_read_config(name, os.environ.get('SCLIP_DATA_ROOT')))
    if clip_path:
        cfg.model.image_encoder.clip = clip_path
    cfg.merge_from_dict(options)
    return cfg


@functools.cache
def _read_config(name, data_root):
    """Read a shipped config, which takes its paths from the environment's `data_root`."""
    return Config.fromfile(config_path(name))


def build_model(cfg, device='cpu'):
    """Build a config's model for prediction."""
    return MODELS.build(cfg.model).to(device).eval()


def load_images(cfg, paths):
    """Run a config's test pipeline, without labels, on image files."""
    steps = [step for step in cfg.test_pipeline if step['type'] != 'LoadAnnotations']
    pipeline = Compose(steps)
    return pseudo_collate([pipeline(dict(img_path=str(path))) for path in paths])


def run_tool(*command, cwd=ROOT, check=True, env=None):
    """Run a Python program of the repository and return the finished process, output as text."""
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        assert result.returncode == 0, result.stdout[-4000:]
    return result


def call_tool(path, *arguments, cwd=ROOT, check=True, env=None):
    """Call the `main(argv)` of a program in this process; otherwise like `run_tool`.

    It saves the start. Each program needs one run by `run_tool` all the same.
    """
    output = io.StringIO()
    code = _call(path, arguments, output, cwd, env)
    if check:
        assert code == 0, output.getvalue()[-4000:]
    return subprocess.CompletedProcess([path, *arguments], code, output.getvalue())


def fork_tool(path, *arguments, log, cwd=ROOT, env=None):
    """Start what `call_tool` calls in a forked process.

    This saves the imports. The process leads its own session and writes to the file `log`.
    """

    def run():
        os.setsid()
        torch.set_num_threads(1)  # those that OpenMP had are not forked
        with open(log, 'w', buffering=1) as output:
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            sys.exit(_call(path, arguments, output, cwd, env))

    process = multiprocessing.get_context('fork').Process(target=run)
    process.start()
    return process


def _call(path, arguments, output, cwd, env):
    """Call the `main(argv)` of a program; its exit status."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_as_a_process_of_its_own(Path(path).parent, cwd, env))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(output))
        spec = importlib.util.spec_from_file_location(f'tool_{Path(path).stem}', path)
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        try:
            tool.main(list(map(str, arguments)))
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code)
                return 1
            return int(stop.code or 0)
        except Exception:
            traceback.print_exc()
            return 1
        return 0


@contextlib.contextmanager
def _as_a_process_of_its_own(folder, cwd, env):
    """Give a program the state it would start with, and take back what it changes."""
    before, directory = list(sys.path), os.getcwd()
    at_end = signal.getsignal(signal.SIGTERM)
    registers = [MMLogger, MessageHub, Visualizer, DefaultScope, OverlayVisualizer]
    with (
        mock.patch.dict(os.environ, env or {}),
        mock.patch('gc.freeze'),  # would keep the garbage of all tests before
        warnings.catch_warnings(),
        contextlib.ExitStack() as stack,
    ):
        for register in registers:
            stack.enter_context(mock.patch.object(register, '_instance_dict', OrderedDict()))
        warnings.resetwarnings()
        for category in IGNORED_BY_PYTHON:
            warnings.simplefilter('ignore', category)
        warnings.showwarning = lambda *args: sys.stderr.write(warnings.formatwarning(*args[:4]))
        sys.path.insert(0, str(folder))
        os.chdir(cwd)
        try:
            yield
        finally:
            for logger in MMLogger._instance_dict.values():
                for handler in logger.handlers:
                    handler.close()
            os.chdir(directory)
            sys.path[:] = before
            if signal.getsignal(signal.SIGTERM) is not at_end:
                signal.signal(signal.SIGTERM, at_end)


@contextlib.contextmanager
def earlier_blocks_run_once():
    """Let methods share what all blocks but the last make of an image: they differ in the last."""
    run, results = VisionTransformer.run, {}

    def run_once(tower, images, keep=None, sums=None, **kwargs):
        weights = tower.blocks[0].fc1.weight
        key = *map(_digest, (weights, images)), repr((keep, sums))
        if kwargs or key not in results:
            results[key] = run(tower, images, keep, sums, **kwargs)
        return results[key]

    with mock.patch.object(VisionTransformer, 'run', run_once):
        yield


def _digest(tensor):
    return hashlib.sha256(tensor.detach().contiguous().numpy()).digest()


def run_test(config, *arguments, data_root=None, run=call_tool, **kwargs):
    """Run `tools/test.py` on a path, or on a shipped config by its file name without `.py`."""
    path = config if isinstance(config, Path) else config_path(config)
    env = {'SCLIP_DATA_ROOT': str(data_root)} if data_root else None
    return run(ROOT / 'tools/test.py', path, *arguments, env=env, **kwargs)


def metrics(output):
    """Read aAcc, mIoU and mAcc off the last line that `tools/test.py` prints."""
    words = output.strip().splitlines()[-1].split()
    return {key: float(words[words.index(f'{key}:') + 1]) for key in ('aAcc', 'mIoU', 'mAcc')}


def read_tables(page):
    """Tables of a page: a header, a line of rules, and rows of cells."""
    lines = (ROOT / page).read_text(encoding='utf-8').splitlines()
    tables, inside = [], False
    for line in lines:
        if line.startswith('|'):
            if not inside:
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip('|').split('|')])
        inside = line.startswith('|')
    return tables


@contextlib.contextmanager
def chromium(profile, flags, logs):
    """Headless Chromium with a profile's folder, flags and log levels by kind."""
    require(importlib.util.find_spec('selenium'), 'selenium')
    browser, driver = shutil.which('chromium'), shutil.which('chromedriver')
    require(browser and driver, 'Chromium with its driver (Debian: chromium, chromium-driver)')
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*flags, f'--user-data-dir={profile}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', logs)
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()
