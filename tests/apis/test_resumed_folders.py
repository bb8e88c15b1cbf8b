"""A folder's run that was killed goes on, is shared, and is never mixed with another one."""

import contextlib
import csv
import json
import multiprocessing
import os
import pickle
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import ROOT, call_tool, fork_tool
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import one_file
from sclip_mmseg.apis.shares import Share, find_share, share_under_torchrun
from sclip_mmseg.utils.processes import call_pickled

SMALL = {
    'model.test_cfg.crop_size': 112,
    'model.test_cfg.stride': 56,
    'test_pipeline.1.scale': (2048, 168),
}
OPTIONS = [f'{key}={value}' for key, value in SMALL.items() if 'scale' not in key]
CLASSES = ['sky', 'grass']


@pytest.fixture
def folder(tmp_path):
    """A folder with five images."""
    folder = tmp_path / 'in'
    folder.mkdir()
    for index in range(5):
        blocks = np.random.default_rng(index).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((60, 45)).save(folder / f'{index}.png')
    return folder


@pytest.fixture
def run(clip_path, folder, tmp_path):
    """Segment the folder; gives the names of the files that were segmented now."""

    def run(inputs=folder, classes=CLASSES, cfg_options=SMALL, **kwargs):
        kwargs = {**dict(out=tmp_path / 'out', clip=clip_path, device='cpu'), **kwargs}
        found = apis.segment_folder(inputs, classes, cfg_options=cfg_options, **kwargs)
        return [result.path.name for result in found]

    return run


def table(out):
    with open(out / 'areas.csv', encoding='utf-8', newline='') as file:
        return [
            (Path(row['file']).name, row['class'], row['pixels']) for row in csv.DictReader(file)
        ]


def files_of(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob('*')
        if path.is_file() and '.sclip' not in path.parts
    }


def test_results_stream(clip_path, folder, tmp_path):
    results = apis.segment_folder(
        folder, CLASSES, out=tmp_path / 'out', clip=clip_path, device='cpu', cfg_options=SMALL
    )
    assert next(results).path.name == '0.png'
    assert not (tmp_path / 'out/1_labels.png').exists()
    results.close()
    assert {name for name, *_ in table(tmp_path / 'out')} == {'0.png'}


def test_what_is_done_is_left_out(run, folder, tmp_path, monkeypatch):
    names = [f'{index}.png' for index in range(5)]
    assert run(out=tmp_path / 'whole') == names
    segment, count = one_file.segment_array, []

    def stop(*args, **kwargs):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return segment(*args, **kwargs)

    monkeypatch.setattr(one_file, 'segment_array', stop)
    with pytest.raises(KeyboardInterrupt, match='2 of 5 files are segmented'):
        run()
    count.clear()
    with pytest.raises(KeyboardInterrupt, match='4 of 5 files are segmented'):
        run(resume=True)
    lines = []
    assert run(resume=True, on_progress=lines.append) == names[4:]
    assert 'already done: 4 files' in lines
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'whole')
    assert run(resume=True) == []
    Image.new('RGB', (60, 45)).save(folder / '1.png')
    assert run(resume=True) == ['1.png']  # which is another image now
    assert run(on_progress=lines.append) == names
    assert 'starting from the beginning; --resume would continue the earlier run' in lines


@pytest.mark.parametrize(
    'formats, lost',
    [
        ('overlay,labels', '1_overlay.jpg'),
        ('labels', '1_labels.png'),
        ('masks', '1_masks/*.png'),
        ('confidence', '1_confidence.png'),
        ('yolo', 'yolo/labels/1.txt'),
    ],
)
def test_what_is_done_and_lost_is_done_again(run, tmp_path, formats, lost):
    run(formats=formats)
    before = files_of(tmp_path / 'out')
    next((tmp_path / 'out').glob(lost)).unlink()
    assert run(formats=formats, resume=True) == ['1.png']
    assert files_of(tmp_path / 'out') == before
    assert run(formats=formats, resume=True) == []


def test_one_image_of_another_run_is_not_done(run, folder):
    run()
    run(folder / '1.png', classes=['sea', 'sand'])
    assert '1.png' in run(resume=True)


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(classes=['sky', 'sea']), "classes.1 was 'grass', is 'sea'"),
        (dict(method='naclip'), 'model.image_encoder.method'),
        (
            dict(formats='labels'),
            "formats was ['areas', 'labels', 'overlay'], is ['areas', 'labels']",
        ),
        (dict(cfg_options={**SMALL, 'model.test_cfg.stride': 28}), 'model.test_cfg.stride'),
    ],
)
def test_other_settings_are_refused(run, tmp_path, change, said):
    run()
    before = files_of(tmp_path / 'out')
    with pytest.raises(InputError, match='cannot resume from .*/out, .*without --resume') as error:
        run(resume=True, **change)
    assert said in str(error.value) and '\n' not in str(error.value)
    assert files_of(tmp_path / 'out') == before


def test_shares_make_the_whole(run, tmp_path):
    run(out=tmp_path / 'whole', formats='labels,coco')
    assert run(share='2/2', formats='labels,coco') == ['1.png', '3.png']
    assert run(share='1/2', formats='labels,coco') == ['0.png', '2.png', '4.png']
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'whole')
    [coco] = (tmp_path / 'out').glob('*coco*.json')
    assert len(json.loads(coco.read_text())['images']) == 5


def test_which_share(monkeypatch):
    assert find_share('2/8') == Share(2, 8)
    assert find_share(None) == Share()
    torchrun = dict(TORCHELASTIC_RUN_ID='none', RANK='1', LOCAL_RANK='1', WORLD_SIZE='3')
    assert share_under_torchrun({}) == (None, None)
    assert share_under_torchrun(torchrun) == ('2/3', None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert share_under_torchrun(torchrun) == ('2/3', 'cuda:1')
    assert [list(Share(n, 3).of(range(7))) for n in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    for text in ('0/2', '3/2', '1', 'a/b', ''):
        with pytest.raises(InputError, match='--share'):
            find_share(text)


@pytest.mark.parametrize('held, asked', [('1-of-1', None), ('1-of-2', None), ('1-of-1', '1/2')])
def test_two_runs_into_one_folder(run, tmp_path, held, asked):
    (tmp_path / 'out/.sclip').mkdir(parents=True)
    with FileLock(tmp_path / f'out/.sclip/{held}.lock'):
        with pytest.raises(InputError, match='another run writes to .*/out: wait for it'):
            run(share=asked)
    assert not files_of(tmp_path / 'out')


def test_a_file_system_without_locks(run, folder, tmp_path, monkeypatch):
    class NoLock(contextlib.ExitStack):
        def __init__(self, *args, **kwargs):
            raise OSError(37, 'No locks available')

    monkeypatch.setattr('sclip_mmseg.apis.shares.FileLock', NoLock)
    with pytest.warns(UserWarning, match='on a file system without locks'):
        assert len(run(share='1/1')) == 5


def test_two_folders_keep_their_names(run, folder, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    Image.new('RGB', (60, 45)).save(other / '0.png')
    run([folder, other], formats='labels')
    names = {name for name in files_of(tmp_path / 'out') if name.endswith('.png')}
    assert names == {*(f'in/{index}_labels.png' for index in range(5)), 'other/0_labels.png'}


def test_no_process(run):
    with pytest.raises(InputError, match='--processes'):
        run(processes=0)


def test_what_no_process_could_build_is_refused_before_they_start(run, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.apis.workers.ProcessPoolExecutor', None)
    with pytest.raises(InputError, match='two classes are called'):
        run(classes=['sky', 'sky'], processes=2)


@pytest.mark.slow
def test_processes_start_without_what_they_do_not_need():
    names = {'transformers', 'mmseg', 'mmseg.models.backbones', 'scipy.ndimage'}
    content = pickle.dumps((find_share, '1/2'))
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, context, call_pickled, (content,)) as pool:
        code = f"{names} & {{*__import__('sys').modules}}"
        assert pool.submit(eval, code).result() == {'mmseg'}


@pytest.mark.slow
def test_several_processes(run, folder, tmp_path):
    (folder / 'bad.jpg').write_bytes(b'x')
    with pytest.raises(InputError, match='1 of 6 not segmented: .*bad.jpg'):
        run(out=tmp_path / 'whole')
    with pytest.raises(InputError, match='1 of 6 not segmented: .*bad.jpg'):
        run(processes=2)
    assert files_of(tmp_path / 'out') == files_of(tmp_path / 'whole')
    assert run([folder / f'{index}.png' for index in range(5)], resume=True) == []


@pytest.mark.slow
def test_a_kill_costs_one_image(clip_path, folder, tmp_path):
    command = (ROOT / 'tools/demo.py', folder, '--classes', 'sky; grass', '--clip', clip_path)
    command += '--device', 'cpu', '--out', tmp_path / 'out', '--cfg-options', *OPTIONS
    log = tmp_path / 'log.txt'
    log.touch()
    process = fork_tool(*command, log=log)
    while log.read_text().count('.png: ') < 2 and process.is_alive():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    done = log.read_text().count('.png: ')
    output = call_tool(
        *command[: -len(OPTIONS) - 1], '--resume', *command[-len(OPTIONS) - 1 :]
    ).stdout
    assert done - 1 <= 5 - output.count('.png: ') <= done + 1
    assert {name for name, *_ in table(tmp_path / 'out')} == {f'{index}.png' for index in range(5)}
