"""`tools/analysis_tools/sweep_thresholds.py`: the same numbers as single runs, and resuming."""

import csv
import shutil
from collections import namedtuple
from itertools import product

import pytest
import torch
from helpers import ROOT, call_tool, config_path, make_voc, run_test, seeded_clip
from PIL import Image
from trained_weights import seeded_tcl

from sclip_mmseg.evaluation import Result
from sclip_mmseg.models import CLIPSegmentor
from sclip_mmseg.sweep import SettingResult, ThresholdSweepLoop, report
from sclip_mmseg.sweep.grid import Setting

TOOL = ROOT / 'tools/analysis_tools/sweep_thresholds.py'
VOC21 = 'sclip_vit-b16_voc21'
OPTIONS = (
    *('model.test_cfg.crop_size=64', 'model.test_cfg.stride=64', 'test_dataloader.num_workers=0'),
    *('test_dataloader.dataset.pipeline.1.scale=(160,64)', 'model.text_head.templates=[{}]'),
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp('data'), sizes=((60, 80), (80, 60), (70, 70)))


@pytest.fixture
def sweep(root, clip_path, tmp_path, request, monkeypatch):
    """Run the tool on a config, by default on SCLIP's VOC21."""
    if 'stopped' not in request.node.name:  # which looks at the plot, longer to draw than the rest
        monkeypatch.setattr(report, 'draw', lambda *_: None)

    def sweep(*arguments, config=VOC21, checkpoint=clip_path, options=(), **kwargs):
        return call_tool(
            *(TOOL, config_path(config), checkpoint, *arguments, '--work-dir', tmp_path / 'work'),
            *('--cfg-options', *OPTIONS, *options),
            **{'env': {'SCLIP_DATA_ROOT': str(root)}, 'cwd': tmp_path, **kwargs},
        ).stdout

    return sweep


@pytest.fixture
def encoded(monkeypatch):
    """Sizes of the batches that the tower sees."""
    batches, encode = [], CLIPSegmentor.encode_images

    def count(model, inputs, samples):
        batches.append(len(samples))
        return encode(model, inputs, samples)

    monkeypatch.setattr(CLIPSegmentor, 'encode_images', count)
    return batches


def _rows(path):
    with open(path, encoding='utf-8') as file:
        return list(csv.DictReader(file))


def _swept(work):
    """Setting → metrics, and class → IoU and Acc, as written."""
    names = ('aAcc', 'mIoU', 'mAcc')
    key = lambda row: tuple(row[name] for name in Setting._fields)  # noqa: E731
    metrics = {key(r): {n: float(r[n]) for n in names} for r in _rows(work / 'sweep.csv')}
    classes = {k: {} for k in metrics}
    for row in _rows(work / 'classes.csv'):
        values = {n: float(row[n]) if row[n] else None for n in ('IoU', 'Acc')}
        classes[key(row)][row['class']] = values
    return metrics, classes


def _single(config, clip_path, root, folder, options, values):
    """Metrics that `tools/test.py` reports for these values."""
    swept = [f'model.test_cfg.{name}={value}' for name, value in values.items()]
    run_test(
        *(config, clip_path, '--work-dir', folder / 'single', '--cfg-options', *OPTIONS, *options),
        *swept,
        data_root=root,
    )
    return Result.load(folder / 'single/result.npz')


SIGMOID = ('model.test_cfg.activation=sigmoid', 'model.test_cfg.logit_bias=-1.0')
CASES = {
    'softmax': (VOC21, (), dict(logit_scale=[20, 65], prob_thd=[0.05], area_thd=[None, 0.05])),
    'no background': ('sclip_vit-b16_voc20', (), dict(logit_scale=[20])),
    'sigmoid': (VOC21, SIGMOID, dict(logit_scale=[5], prob_thd=[0.4], area_thd=[None])),
    'constant background': (
        'tcl_vit-b16_voc21',
        (),
        dict(background=[0.1, 0.3], prob_thd=[0.2]),
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_numbers_are_those_of_single_runs(case, sweep, clip_path, root, tmp_path):
    config, options, values = CASES[case]
    if config.startswith('tcl'):
        options = (f'model.image_encoder.clip={clip_path}',)
        clip_path = str(tmp_path / 'tcl.pth')
        torch.save(dict(model=seeded_tcl(seeded_clip())), clip_path)
    flags = [
        word
        for name, numbers in values.items()
        for word in (f'--{name.replace("_", "-")}', *(str(n).lower() for n in numbers))
    ]
    output = sweep(*flags, config=config, checkpoint=clip_path, options=options)
    metrics, classes = _swept(tmp_path / 'work')
    assert output.count("config's own") == 1
    assert 'Device: cpu, precision fp32' in output and 'System environment' not in output
    assert 'tuned on this split' in output
    if config == 'sclip_vit-b16_voc20':
        assert 'logit_scale does not change classes' in output
    else:
        assert len({row['mIoU'] for row in metrics.values()}) > 1
    for numbers in list(product(*values.values()))[::3]:
        chosen = dict(zip(values, numbers))
        [key] = [key for key in metrics if _matches(key, chosen)]
        single = _single(config, clip_path, root, tmp_path, options, chosen)
        assert metrics[key] == single.metrics()
        assert classes[key] == single.by_class()


def _matches(key, chosen):
    """Whether a setting, as written, has these values."""
    texts = {name: '' if v is None else str(float(v)) for name, v in chosen.items()}
    return texts.items() <= dict(zip(Setting._fields, key)).items()


VALUES = ('--logit-scale', '40', '--prob-thd', '0.05', '0.1')


def test_a_stopped_sweep_resumes(sweep, encoded, tmp_path, monkeypatch):
    work = tmp_path / 'work'
    sweep(*VALUES)
    assert encoded == [1, 1, 1]
    expected = [(work / name).read_text() for name in ('sweep.csv', 'classes.csv')]
    assert (work / 'sweep.png').stat().st_size > 1000
    shutil.rmtree(work)

    evaluate = ThresholdSweepLoop._decide
    monkeypatch.setattr(
        *(ThresholdSweepLoop, '_decide'),
        lambda self, index, *rest: _stop() if index == 1 else evaluate(self, index, *rest),
    )
    del encoded[:]
    stopped = call_and_fail(sweep, *VALUES)
    assert '1 of 3 images are done' in stopped
    assert 'Traceback' not in stopped
    assert encoded == [1, 1]
    assert len(list(work.glob('kept/*.pt'))) == 1

    monkeypatch.setattr(ThresholdSweepLoop, '_decide', evaluate)
    output = sweep(*VALUES)
    assert 'Resumed: 1 of 3 images are done' in output and 'Maps of 1 of the other images' in output
    assert encoded == [1, 1, 1]  # the image of the interruption has maps
    assert [(work / name).read_text() for name in ('sweep.csv', 'classes.csv')] == expected

    decided = []
    monkeypatch.setattr(
        ThresholdSweepLoop, '_decide', lambda *args: decided.append(args[1]) or evaluate(*args)
    )
    sweep(*VALUES)
    assert encoded == [1, 1, 1] and not decided
    sweep('--logit-scale', '40', '25')  # another value, by the maps
    assert encoded == [1, 1, 1] and decided == [0, 1, 2]
    assert len(_rows(work / 'sweep.csv')) == 3


def _stop():
    raise KeyboardInterrupt


def call_and_fail(sweep, *arguments, **kwargs):
    """Error message of a sweep that must fail."""
    output = sweep(*arguments, check=False, **kwargs)
    assert 'tuned on this split' not in output
    return output


def test_batches_are_whole(sweep, encoded, tmp_path):
    """Digits must not depend on where a sweep was stopped."""
    batches = ('test_dataloader.batch_size=2',)
    sweep(*VALUES, options=batches)
    before = (tmp_path / 'work/classes.csv').read_text()
    next((tmp_path / 'work/kept/maps').glob('000001.*')).unlink()
    [kept] = (tmp_path / 'work/kept').glob('*.pt')
    content = torch.load(kept)
    del content['records'][1]
    torch.save(content, kept)
    sweep(*VALUES, options=batches)
    assert encoded == [2, 1, 2]
    assert (tmp_path / 'work/classes.csv').read_text() == before


def test_what_is_kept_is_checked(sweep, tmp_path, monkeypatch):
    sweep(*VALUES)
    changed = call_and_fail(sweep, *VALUES, options=('model.test_cfg.stride=32',))
    assert 'model.test_cfg.stride was 64, is 32: choose another --work-dir' in changed
    fewer = call_and_fail(sweep, *VALUES, options=('test_dataloader.dataset.indices=2',))
    assert 'images was' in fewer
    sweep(*VALUES, options=('model.test_cfg.prob_thd=0.2',))  # is swept

    sweep(*VALUES)
    before = (tmp_path / 'work/classes.csv').read_text()
    for path in (*tmp_path.glob('work/kept/*.pt'), *tmp_path.glob('work/kept/maps/*')):
        path.write_bytes(path.read_bytes()[:-99])
    output = sweep(*VALUES)
    assert 'is damaged' in output and 'images are evaluated again' in output
    assert (tmp_path / 'work/classes.csv').read_text() == before


def test_what_an_earlier_version_kept_is_refused(sweep, tmp_path):
    old = tmp_path / 'work/kept/areas/000000.npz'
    old.parent.mkdir(parents=True)
    old.touch()
    output = call_and_fail(sweep, *VALUES)
    assert f'{old} was written by an earlier version: choose another --work-dir' in output


def test_maps_need_disk_space_or_are_not_kept(sweep, encoded, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(10**9, 10**9, 1000))
    output = call_and_fail(sweep, *VALUES)
    assert 'for the maps of 3 images, but 1 kB are free' in output
    assert '--no-maps' in output
    sweep(*VALUES, '--no-maps')
    assert not list(tmp_path.glob('work/kept/maps/*'))
    del encoded[:]
    sweep(*VALUES, '--no-maps')
    assert encoded == []


REFUSED = {
    'nothing to sweep': ((), VOC21, (), 'give values of --logit-scale'),
    'no background': (
        *(('--prob-thd', '0', '0.1'), 'sclip_vit-b16_voc20', ()),
        "--prob-thd 0.1 needs a background, but class 0 of the dataset is 'aeroplane'",
    ),
    'no background for the area': (
        *(('--area-thd', '0.1'), 'sclip_vit-b16_voc20', ()),
        '--area-thd 0.1 needs a background',
    ),
    'no constant background': (
        *(('--background', '0.5'), VOC21, ()),
        '--background has no effect on this config',
    ),
    'scores': (
        *(('--logit-scale', '20'), 'groupvit_vit-s16_voc21', ()),
        '--logit-scale has no effect on this config',
    ),
    'range': (('--prob-thd', '1.5'), VOC21, (), 'test_cfg.prob_thd=1.5 must lie between 0 and 1'),
    'metric': (
        *(VALUES, VOC21, ('test_evaluator.format_only=True', 'test_evaluator.output_dir=maps')),
        'test_evaluator to be one ConfusionMetric',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_has_no_use_is_refused_by_name(case, sweep):
    arguments, config, options, message = REFUSED[case]
    output = call_and_fail(sweep, *arguments, config=config, options=options)
    assert message in output
    assert 'Traceback' not in output


def test_several_processes_are_refused(sweep, root):
    env = {'SCLIP_DATA_ROOT': str(root), 'WORLD_SIZE': '2'}
    assert 'without torchrun' in call_and_fail(sweep, *VALUES, env=env)


def _results(settings):
    """Made-up results, the larger the later."""
    return [
        SettingResult(s, Result.from_counts(['i'], [[[0, 1], [0, 0], [n, 100 - n]]], ['a', 'b']))
        for n, s in enumerate(settings, 1)
    ]


def test_a_long_table_shows_the_best_and_the_own():
    settings = [Setting(40.0, n / 100, None, None) for n in range(90)]
    lines = report.to_text(_results(settings), settings[3]).splitlines()
    assert len(lines) == 1 + 21 + 1
    assert lines[0].split() == ['prob_thd', 'aAcc', 'mIoU', 'mAcc']
    assert lines[1].split() == ['0.03', '4.00', '2.00', '50.00', "config's", 'own']
    assert lines[-2].split() == ['0.89', '90.00', '45.00', '50.00', 'best']
    assert '21 of 90 settings' in lines[-1]


@pytest.mark.parametrize(
    'axes',
    [
        ([40.0], [0.0, 0.1, 0.2], [None]),
        ([20.0, 40.0], [0.0, 0.1], [None, 0.1]),
        ([40.0], [0.1], [None, 0.1, 0.2]),  # an axis of which None is a value
        ([40.0], [0.1], [None]),
    ],
)
def test_the_plot_has_a_point_per_setting(axes, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    points, plot = [], Axes.plot
    monkeypatch.setattr(
        Axes, 'plot', lambda *args, **more: points.append(args[1]) or plot(*args, **more)
    )
    settings = [Setting(*values, None) for values in product(*axes)]
    report.draw(_results(settings), settings[0], 'title', tmp_path / 'plot.png')
    assert sum(map(len, points)) == len(settings) + 1  # and the mark of the best
    assert Image.open(tmp_path / 'plot.png').width > 500


def test_an_own_setting_off_the_grid_is_a_line(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    heights, axhline = [], Axes.axhline
    monkeypatch.setattr(
        Axes, 'axhline', lambda *args, **more: heights.append(args[1]) or axhline(*args, **more)
    )
    own = Setting(65.0, 0.1, 0.1, None)
    settings = [own, *(Setting(20.0, p, a, None) for p in (0.0, 0.1) for a in (None, 0.2))]
    report.draw(_results(settings), own, 'title', tmp_path / 'plot.png')
    assert heights == [0.5]  # the panels left are lines of one panel
