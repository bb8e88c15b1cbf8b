"""ONNX models give the same results as PyTorch, and run with demo/onnx_segment.py."""

import json
import re
import runpy
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool, require, seeded_clip
from PIL import Image
from trained_weights import write_trained

from sclip_mmseg import InputError, apis
from sclip_mmseg.export import export_onnx, onnx_file
from sclip_mmseg.export.metadata import describe_rule
from sclip_mmseg.models.decision import build_rule, segment
from sclip_mmseg.models.fusion import DenseMap

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
CLASSES = 'sky, clouds; grass; cat'
SMALL = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
SMALLER = {**SMALL, 'test_pipeline.1.scale': (2048, 168)}
OPTIONS = [f'{key}={value}'.replace(' ', '') for key, value in SMALLER.items()]
TOY = ROOT / 'data/toy/toy_clip.safetensors'
RUNNER = ROOT / 'demo/onnx_segment.py'


def build(clip_path, method='scclip', background=False, precision='fp32', **options):
    return apis.build_segmentor(
        *(CLASSES, background, method, clip_path, 'cpu', {**SMALLER, **options}),
        precision=precision,
    )


@pytest.fixture(scope='module')
def image_folder(tmp_path_factory):
    """Images wide, tall and small, of blots."""
    folder = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for name, size in dict(wide=(120, 300), tall=(260, 201), small=(90, 97)).items():
        blots = random.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{name}.png'), cv2.resize(blots, size[::-1]))
    return folder


@pytest.fixture(scope='module')
def exported(clip_path, tmp_path_factory):
    """A file that `sclip export` wrote, and what it printed."""
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        require(find_spec(name), f'{name} (pip install -e ".[onnx]")')
    path = tmp_path_factory.mktemp('exported') / 'new/model.onnx'
    arguments = '--classes', CLASSES, '--background', 'sea', '--clip', clip_path, '--out', path
    output = call_tool(CLI, 'export', *arguments, '--cfg-options', *OPTIONS).stdout
    assert [file.name for file in path.parent.iterdir()] == ['model.onnx']
    return path, output


@pytest.fixture(scope='module')
def session(exported):
    import onnxruntime

    return onnxruntime.InferenceSession(exported[0])


def about_of(session):
    found = session.get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in found.items()}


def test_what_a_model_says_of_itself(exported, session):
    import onnx

    path, output = exported
    assert f'opset 20; scores agree to 1e-05; written to {path}' in output
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    assert [(each.domain, each.version) for each in proto.opset_import] == [('', 20)]
    about = about_of(session)
    assert about['classes'] == ['background', 'sky', 'grass', 'cat']
    assert about['label_ids'] == [0, 1, 2, 3] and about['query_classes'] == [0, 1, 1, 2, 3]
    assert np.shape(about['palette']) == (4, 3) and about['method'] == 'scclip'
    assert about['rule'] == dict(activation='softmax', logit_scale=40.0, prob_thd=0.1)
    assert about['window'] == dict(mode='slide', size=[112, 112], stride=[56, 56])
    assert about['scale'] == [2048, 168] and about['normalisation']['channels'] == 'RGB'
    assert about['fingerprint']['model.image_encoder.clip'].startswith('SHA-256 ')
    assert 'notice' not in about
    assert {each.name: each.shape for each in session.get_inputs()} == {
        'images': ['batch', 3, 112, 112]
    }
    assert {each.name: each.shape for each in session.get_outputs()} == {
        'scores': ['batch', 4, 112, 112],
        'maps': ['batch', 5, 7, 7],
    }


def test_scores_of_windows(clip_path, session):
    """Scores are those of an image of the window's size."""
    model, about = build(clip_path, background='sea'), about_of(session)
    images = torch.randn(4, 3, 112, 112)
    [scores] = session.run(['scores'], {'images': images.numpy()})
    expected = torch.stack([sample.seg_logits.data for sample in model.predict(images)])
    torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=0, atol=1e-5)
    mean, std = (torch.tensor(about['normalisation'][key]) for key in ('mean', 'std'))
    torch.testing.assert_close(model.data_preprocessor.mean.flatten(), mean)
    torch.testing.assert_close(model.data_preprocessor.std.flatten(), std)


@pytest.mark.parametrize('name', ['wide', 'tall', 'small'])
def test_the_runner_gives_the_same_labels(
    clip_path, exported, image_folder, tmp_path, monkeypatch, name
):
    image_path = image_folder / f'{name}.png'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [str(RUNNER), str(exported[0]), str(image_path)])
    runpy.run_path(str(RUNNER), run_name='__main__')
    result = apis.segment(build(clip_path, background='sea'), image_path)
    labels = np.array(Image.open(tmp_path / f'{name}_labels.png'))
    best = np.sort(result.scores, 0)
    tied = (best[-1] - best[-2] < 1e-5) | (abs(best[-1] - 0.1) < 1e-5)
    assert len(np.unique(labels)) > 1 and (labels == result.labels)[~tied].all()
    assert tied.mean() < 0.01


@pytest.mark.parametrize(
    'test_cfg',
    [
        dict(activation=None),
        dict(activation='sigmoid', logit_scale=7.0, logit_bias=-1.0, prob_thd=0.4),
        dict(logit_scale=10.0, prob_thd=0.3, area_thd=0.3),
        dict(activation=None, background=0.3, prob_thd=0.5),
        dict(activation=None, background=0.3, area_thd=0.2),
    ],
)
def test_the_runner_knows_the_rules(test_cfg):
    require(find_spec('onnxruntime'), 'onnxruntime (pip install -e ".[onnx]")')
    rule, ids = build_rule(test_cfg), [0, 2, 1, 1]
    maps = torch.rand(4, 30, 40, generator=torch.Generator().manual_seed(1))
    expected = segment(DenseMap(maps), torch.tensor(ids), rule, keep_scores=False)[1]
    found = runpy.run_path(str(RUNNER))['decide'](
        maps.permute(1, 2, 0).numpy(), describe_rule(rule), ids
    )
    assert (found == expected.numpy()).all() and len(np.unique(found)) > 1


@pytest.mark.parametrize(
    'words, message',
    [
        ([], 'Segment images with a model.*: name an existing model, and images'),
        (['model'], 'name an existing model, and images'),
        (['nowhere.onnx', 'x.jpg'], 'name an existing model, and images'),
        (['model', 'nowhere.jpg'], 'error: nowhere.jpg cannot be read as an image'),
        (['model', __file__], r'error: .*test_export.py cannot be read as an image'),
    ],
)
def test_the_runner_says_in_a_line_what_is_wrong(exported, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    words = [str(exported[0]) if word == 'model' else word for word in words]
    monkeypatch.setattr(sys, 'argv', [str(RUNNER), *words])
    with pytest.raises(SystemExit, match=message) as stop:
        runpy.run_path(str(RUNNER), run_name='__main__')
    assert '\n' not in stop.value.code and not list(tmp_path.iterdir())


def test_the_runner_says_that_an_image_is_too_large(exported, monkeypatch, tmp_path):
    path = tmp_path / 'huge.pgm'
    path.write_bytes(b'P5 40000 40000 255 ')
    monkeypatch.setattr(sys, 'argv', [str(RUNNER), str(exported[0]), str(path)])
    with pytest.raises(SystemExit, match='huge.pgm cannot be read as an image'):
        runpy.run_path(str(RUNNER), run_name='__main__')


def test_the_runner_refuses_what_it_cannot_segment(session):
    run = runpy.run_path(str(RUNNER))['segment']
    assert len(RUNNER.read_text(encoding='utf-8').splitlines()) <= 64
    with pytest.raises(SystemExit, match=r'resized to \[41, 2048\], does not fit windows'):
        run(session, about_of(session), np.zeros((10, 500, 3), np.uint8))


def test_an_export_leaves_models_as_they_are(clip_path, image_folder, tmp_path, monkeypatch):
    """This includes an export that fails midway."""
    model, image_path = (
        build(clip_path, 'naclip', **{'model.test_cfg.mode': 'slide'}),
        image_folder / 'tall.png',
    )
    before = apis.segment(model, image_path).scores
    monkeypatch.setattr(onnx_file, '_compare', lambda *args: None)
    monkeypatch.setattr(
        onnx_file, '_convert', lambda network, images, about: trace(network, images)
    )

    def trace(network, images):
        torch.export.export(network, (images,))
        return b'x'

    export_onnx(model, tmp_path / 'x.onnx')
    for each in (model, build(clip_path, 'naclip', **{'model.test_cfg.mode': 'slide'})):
        assert (apis.segment(each, image_path).scores == before).all()


def test_nothing_is_written_where_the_two_disagree(clip_path, exported, tmp_path, monkeypatch):
    content = exported[0].read_bytes()
    monkeypatch.setattr(onnx_file, '_convert', lambda *args: content)
    other = apis.build_segmentor(
        'a; b; c',
        'd, e',
        'scclip',
        clip_path,
        'cpu',
        {**SMALLER, 'model.test_cfg.logit_scale': 9.0},
    )
    with pytest.raises(InputError, match='differ by .* nothing is written'):
        export_onnx(other, tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'method, options, message',
    [
        ('sclip-pamr10', {}, r'it needs the image at its own size \(model.refine, PAMR\)'),
        (
            'resclip-naclip',
            {'model.image_encoder.method.rcs.blocks': (1, 2)},
            r'ResCLIP cannot be exported: it needs the lines between all pairs of patches \(sfr\)',
        ),
        ('naclip', {}, 'sees whole images: give their size once resized by --size'),
        ('sclip', {'precision': 'bf16'}, 'exported in float32'),
        ('sclip', {'test_pipeline.1.keep_ratio': False}, 'test_pipeline must resize'),
        (
            'rfclip',
            {'model.image_encoder.method.channels': [1, 2]},
            'RFCLIP cannot be exported: it needs all windows of an image together',
        ),
        (
            'sclip',
            {'model.postprocess': dict(type='RegionMajority')},
            'a region map of each image and the image, to correct labels',
        ),
    ],
)
def test_what_cannot_be_exported(clip_path, tmp_path, method, options, message):
    with pytest.raises(InputError, match=message) as error:
        export_onnx(build(clip_path, method, **options), tmp_path / 'model.onnx')
    assert '\n' not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize('method', ['corrclip', 'rfclip', 'resclip-sclip', 'pearl', 'segearth'])
def test_refusals_come_before_weights_are_read(exported, tmp_path, method):
    arguments = '--classes', 'a; b', '--method', method, '--clip', 'nowhere.pt'
    output = call_tool(CLI, 'export', *arguments, '--out', tmp_path / 'x', check=False).stdout
    assert re.fullmatch(r'error: \w+ cannot be exported: it needs .*\n', output)
    output = call_tool(CLI, 'export', *arguments, '--out', tmp_path, check=False).stdout
    assert re.fullmatch(r'error: --out .* is a folder: name a file.*\n', output)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(InputError, match='is a folder: name a file, such as .*/model.onnx'):
        export_onnx(None, tmp_path)


def test_a_size_without_effect(clip_path, tmp_path):
    with pytest.raises(InputError, match='SCCLIP sees windows of .*crop_size=.112, 112.: leave it'):
        export_onnx(build(clip_path), tmp_path / 'model.onnx', (112, 160))


def test_the_python_of_the_page(tmp_path, monkeypatch):
    """The conversion is replaced; other tests cover it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    notices = []
    monkeypatch.setattr(onnx_file, '_convert', lambda *args: notices.append(args[2]) or b'x')
    monkeypatch.setattr(onnx_file, '_compare', lambda *args: None)
    page = (ROOT / 'docs/export.md').read_text(encoding='utf-8')
    exec(re.search(r'```python\n(.*?)```', page, re.S)[1], {})
    assert (tmp_path / 'model.onnx').read_bytes() == b'x'
    assert 'This is the toy CLIP' in notices[0]['notice']


def test_missing_packages(monkeypatch):
    monkeypatch.setattr(onnx_file, 'find_spec', lambda name: None if name == 'onnx' else name)
    arguments = '--classes', 'a; b', '--out', 'x.onnx', '--clip', 'nowhere.pt'
    output = call_tool(CLI, 'export', *arguments, check=False).stdout
    assert (
        output.startswith('error: sclip export needs onnx: pip install') and output.count('\n') == 1
    )


#: Method → options beside those of small weights.
EXPORTED = {
    **{name: {} for name in ('clip', 'maskclip', 'sclip', 'gem', 'sfp')},
    **{name: {} for name in ('clip-resclip-protocol', 'clearclip', 'naclip')},
    **{name: {} for name in ('proxyclip-dino-b8', 'tcl', 'groupvit', 'talk2dino')},
}


@pytest.mark.slow
@pytest.mark.parametrize('method', EXPORTED)
def test_methods_that_can_be_exported(tmp_path, dino_path, method):
    """All except SC-CLIP, which the other tests use."""
    path, options = tmp_path / 'seeded.pt', {}
    torch.save(seeded_clip(layers=12), path)
    if apis.is_trained(method):
        path, options = write_trained(tmp_path)[method]
    elif method.startswith('proxyclip'):
        options = {'model.image_encoder.proxy.checkpoint': dino_path}
    model = build(str(path), method, **options)
    size = (112, 160) if model.windows.mode == 'whole' else None
    export_onnx(model, tmp_path / 'model.onnx', size)
    assert (tmp_path / 'model.onnx').is_file()


def test_the_page_says_which_methods_are_exported():
    page = (ROOT / 'docs/export.md').read_text(encoding='utf-8')
    named = re.findall(r'`([\w-]+)`', page.partition('## Which methods')[2])
    assert set(apis.list_methods()) <= set(named)
