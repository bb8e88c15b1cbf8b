"""The output of a run while it is running, and at its end."""

import re
import subprocess

import pytest
from helpers import build_model, call_tool, config_path, load_config, make_voc, metrics, run_test

from sclip_mmseg.evaluation import evaluate
from sclip_mmseg.utils.progress import Progress
from sclip_mmseg.utils.stderr import redirect_stderr

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def _speak(steps, interval=10.0):
    """Seconds after the start at which messages are printed, for steps of given lengths."""
    clock = Clock()
    progress = Progress(len(steps), interval=interval, clock=clock)
    said = []
    for done, seconds in enumerate(steps, 1):
        clock.now += seconds
        if progress.is_due(done):
            said.append(clock.now - 100)
    return said, progress


def test_reports_come_by_time():
    said, _ = _speak([0.5] * 100)
    assert said == [9.5, 19.0, 28.5, 38.0, 47.5]
    said, _ = _speak([4.0] * 5)
    assert said == [8.0, 16.0]
    said, _ = _speak([25.0] * 3)
    assert said == [25.0, 50.0, 75.0]


def test_rate_and_eta_leave_the_first_step_out():
    _, progress = _speak([30.0, 0.5, 0.5])
    progress.total = 1203
    assert str(progress) == '3 of 1203 images, 2.0 images/s, eta 0:10:00'
    _, progress = _speak([30.0, 8.0])
    assert str(progress) == '2 of 2 images, 0.125 images/s, eta 0:00:00'
    _, first = _speak([30.0])
    assert str(first) == '1 of 1 images'


@pytest.fixture(scope='module')
def run(clip_path, tmp_path_factory):
    """Output and log file of a run that writes label maps and overlays."""
    root = make_voc(tmp_path_factory.mktemp('run') / 'data')
    build_model(load_config('sclip_vit-b16_voc21', clip_path))  # caches its queries
    output = run_test(
        *('sclip_vit-b16_voc21', clip_path, '--work-dir', root / 'work'),
        *('--out', root / 'maps', '--show-dir', root / 'overlays'),
        *('--cfg-options', *SMALL, 'default_hooks.logger.seconds=0'),
        data_root=root,
    ).stdout
    [log] = (root / 'work').glob('*/*.log')
    return root, output.strip().splitlines(), log.read_text()


def test_the_start_is_brief_on_the_terminal_and_whole_in_the_log(run, clip_path):
    root, lines, log = run
    first = next(i for i, line in enumerate(lines) if 'Iter(test)' in line)
    assert first <= 8
    start = '\n'.join(lines[:first])
    for text in (
        'sclip_vit-b16_voc21.py',
        clip_path,
        'Device: cpu, precision fp32',
        f'PascalVOCDataset, 3 images in {root}/VOCdevkit/VOC2012; batch size 1, ',
        f'Log: {root}/work/',
    ):
        assert text in start and text in log
    for text in ('System environment', 'Config:\n', 'Hooks will be executed'):
        assert text in log and text not in start


def test_progress_in_mmsegs_words_with_images_per_second(run):
    _, lines, _ = run
    progress = [line for line in lines if 'eta: ' in line]
    assert len(progress) == 3
    pattern = r'INFO - Iter\(test\) \[3/3\] +eta: 0:00:00 +time: [\d.]+ .*images/s: [\d.]+$'
    assert re.search(pattern, progress[-1])


def test_the_last_lines_say_where_everything_is(run):
    root, lines, _ = run
    [folder] = (root / 'work').glob('2*')
    assert [line.split(' - ')[-1] for line in lines[-4:-1]] == [
        f'Log and metrics: {folder}',
        f'Label maps: {root}/maps',
        f'Overlays: {root}/overlays',
    ]
    assert set(metrics('\n'.join(lines))) == {'aAcc', 'mIoU', 'mAcc'}


def test_a_quiet_run_shows_its_progress_alone(clip_path, voc_root, capsys):
    options = dict(option.split('=') for option in SMALL)
    options = {key: int(value) for key, value in options.items()}
    options['default_hooks.logger.seconds'] = 0
    options['test_dataloader.dataset.data_root'] = str(voc_root / 'VOCdevkit/VOC2012')
    config = config_path('sclip_vit-b16_voc21')
    arguments = dict(work_dir=voc_root / 'work', cfg_options=options, quiet=True)
    result = evaluate(config, clip_path, **arguments)
    assert len(result.images) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18] for line in lines] == [f'  Iter(test) [{i}/3]' for i in (1, 2, 3)]
    [log] = (voc_root / 'work').glob('*/*.log')
    assert 'per class results' in log.read_text()


def test_own_images_report_by_time(clip_path, tmp_path, monkeypatch):
    from helpers import ROOT

    from sclip_mmseg.apis import files

    monkeypatch.setattr(files, 'Progress', lambda total, unit: Progress(total, unit, interval=0))
    folder = make_voc(tmp_path) / 'VOCdevkit/VOC2012/JPEGImages'
    output = call_tool(
        *(ROOT / 'tools/demo.py', folder, '--classes', 'sky; cat', '--clip', clip_path),
        *('--device', 'cpu', '--out', tmp_path / 'out', '--cfg-options', *SMALL),
    ).stdout.splitlines()
    assert output[0] == '3 images; reading weights'
    assert [line for line in output if line.startswith('2 of 3 files, ')]
    assert output[-1] == f'written to {tmp_path}/out'


def test_what_programs_print_is_redirected(capfd, tmp_path):
    with open(tmp_path / 'printed', 'wb') as file, redirect_stderr(file):
        subprocess.run('echo hidden >&2', shell=True)
    subprocess.run('echo shown >&2', shell=True)
    assert capfd.readouterr().err == 'shown\n'
    assert (tmp_path / 'printed').read_text() == 'hidden\n'
