"""SegEarth-OV and its upsampler compared with the authors' program."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from exactness import assert_results_agree, assert_texts_agree
from helpers import build_model, each_case, load_config, load_images
from paths import SHARED

from sclip_mmseg.models.fusion import cut_windows
from sclip_mmseg.models.simfeatup import BilateralFilter, SimFeatUp, UpsampledText
from sclip_mmseg.models.windowed_image import WindowFeatures

pytestmark = pytest.mark.golden

FOLDER = SHARED / 'later/segearth'
REAL = SHARED / 'real_upsampler/clip_jbu_stack_cocostuff.ckpt'
CASES = {'': {}}
# The default run has one of each kind of window and upsampler, which takes few seconds.
QUICK = {'', 'segearth_koeln_strip-uavid', 'segearth_2007_004189-openearthmap_noup'}
if FOLDER.is_dir():
    CASES = {
        f'{case["file"][:-4]}-{benchmark}': dict(case, **settings, benchmark=benchmark)
        for case in json.loads((FOLDER / 'cases.json').read_text())
        for benchmark, settings in case['benchmarks'].items()
    }
STEPS = {2: 3, 4: 5, 8: 7, 16: 9}  # size of features → every so manieth is kept


@pytest.fixture(scope='session')
def weights(shared, tmp_path_factory):
    """Paths of the seeded CLIP and upsamplers."""
    path = FOLDER / 'tiny_segearth.py'
    spec = importlib.util.spec_from_file_location('tiny_segearth', path)
    tiny, folder = importlib.util.module_from_spec(spec), tmp_path_factory.mktemp('segearth')
    before = list(sys.path)
    spec.loader.exec_module(tiny)
    sys.path[:] = before
    made = dict(clip=tiny.segearth_clip_state_dict(0))
    made.update({kind: tiny.simfeatup_checkpoint(0, kind) for kind in ('jbu_one', 'jbu_stack')})
    for name, content in made.items():
        torch.save(content, folder / f'{name}.pt')
    return {name: str(folder / f'{name}.pt') for name in made}


def _agree(found, expected, tolerance=1e-5):
    """Compare by the largest of all."""
    tolerance *= 1 if found.device.type == 'cpu' else 5
    difference = np.abs(found.float().cpu().numpy() - expected).max()
    assert difference <= tolerance * np.abs(expected).max(), difference


def _check_upsampler(upsampler, features, image, golden, prefix, channels=1):
    """Compare each doubling, and the end."""
    kernels, kernels_of = [], BilateralFilter.kernels
    x, size = features.float(), 2
    for number, step in enumerate(STEPS.values()):
        unit = upsampler.filters[min(number, len(upsampler.filters) - 1)]
        size = 2 * x.shape[0], 2 * x.shape[1]
        guide = torch.nn.functional.adaptive_avg_pool2d(image[None], size)[0].permute(1, 2, 0)
        with pytest.MonkeyPatch.context() as patch:
            seen = lambda *args: kernels.append(kernels_of(*args)) or kernels[-1]  # noqa: E731
            patch.setattr(BilateralFilter, 'kernels', seen)
            x = torch.cat(list(unit(x, guide)))
        if number == 0:
            found = torch.cat(kernels)
            side = int(found.shape[1] ** 0.5)
            found = found.unflatten(0, (-1, size[1] // side)).unflatten(2, (side, side))
            found = found.transpose(1, 2).flatten(0, 1).flatten(1, 2)
            _agree(found[::9, ::9], golden[f'{prefix}kernel2'])
        expected = golden[f'{prefix}level{2 ** (number + 1)}']
        _agree(x[::step, ::step, ::channels].permute(2, 0, 1), expected)
    up = upsampler(features[None], image[None])[0, ::9, ::9, ::channels]
    _agree(up.permute(2, 0, 1), golden[f'{prefix}up'])


@torch.no_grad()
@each_case(CASES, QUICK)
def test_case(shared, weights, case, device):
    golden, benchmark, kind = np.load(FOLDER / case['file']), case['benchmark'], case['upsampler']
    cfg = load_config(f'segearth_vit-b16_{case["names"]}', weights['clip'])
    if kind == 'none':
        cfg.model.image_encoder.upsampler = None
    else:
        cfg.model.image_encoder.upsampler.checkpoint = weights[kind]
    model = build_model(cfg, device)
    assert_texts_agree(model, golden[f'{benchmark}_text'])
    here = FOLDER if case['image_in'] == 'here' else shared / 'data'
    data = load_images(cfg, [here / case['image']])
    inputs = model.data_preprocessor(data)
    [image] = model._read_inputs(inputs['inputs'], inputs['data_samples'])
    cut = cut_windows(image.view(), model.windows)
    assert len(cut) == case['windows'] and list(cut.size) == case['first_window']
    view, encoder = cut.cut(0), model.image_encoder
    _agree(view.images[0, :, ::16, ::16], golden['win0_image'])
    seen = encoder.method(encoder.tower, view, model.text_head)
    if isinstance(seen, torch.Tensor):  # nothing is subtracted
        seen = WindowFeatures(seen)
    _agree(seen.values[0].flatten(0, 1), golden['win0_tokens'])
    if seen.adjusted is not None:
        own = torch.nn.functional.normalize(torch.tensor(golden['win0_class']), dim=-1)
        expected = -0.3 * own.numpy() @ model.text_head.embeddings.cpu().numpy().T
        _agree(seen.adjusted.offsets[0], expected)
    if encoder.upsampler is not None:
        prefix = 'win0_stack_' if kind == 'jbu_stack' else 'win0_'
        _check_upsampler(encoder.upsampler, seen.values[0], view.images[0], golden, prefix)
        logits = encoder(view, model.text_head)[0, :, ::16, ::16]
        expected = golden[f'{benchmark}_win0_logits']
        assert np.abs(logits.cpu().numpy() - expected).max() <= 1e-5
    [result] = model.test_step(data)
    expected = golden[f'{benchmark}_prob'], golden[f'{benchmark}_pred']
    assert_results_agree(result.seg_logits.data, result.pred_sem_seg.data[0], *expected, 'SegEarth')


@torch.no_grad()
@pytest.mark.skipif(not REAL.is_file(), reason=f'{REAL} is absent')
def test_the_real_upsampler(shared, device):
    golden = np.load(FOLDER / 'real_upsampler.npz')
    upsampler = SimFeatUp(str(REAL)).to(device)
    features = np.random.RandomState(5).standard_normal((1, 512, 14, 14)).astype('float32')
    features = torch.from_numpy(features[0]).permute(1, 2, 0).to(device)
    cfg = load_config('segearth_vit-b16_vdd')
    preprocessor = cfg.model.data_preprocessor
    data = load_images(cfg, [shared / 'data/VOCdevkit/VOC2012/JPEGImages/2007_004189.jpg'])
    image = data['inputs'][0].flip(0).float()
    mean, std = (torch.tensor(preprocessor[key])[:, None, None] for key in ('mean', 'std'))
    image = ((image - mean) / std)[:, :224, :224].to(device)
    _check_upsampler(upsampler, features, image, golden, 'real_stack_', channels=16)


def test_a_text_head_sees_no_more_than_strips(weights):
    upsampler, widths = SimFeatUp(weights['jbu_stack']), []

    def text(features, adjusted=None):
        widths.append(features.shape[1])
        return features.permute(0, 3, 1, 2)[:, :2]

    features, images = torch.randn(2, 14, 14, 64), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        maps = UpsampledText(upsampler, text, images)(features)
        whole = upsampler(features, images)
    assert maps.equal(whole.permute(0, 3, 1, 2)[:, :2]) and max(widths) < 100
