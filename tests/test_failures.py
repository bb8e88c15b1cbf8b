"""Full disks, interruptions and images that are too large end with one line."""

import errno
import logging
import os
import signal
import struct
import tempfile
import warnings
import zlib

import numpy as np
import pytest
from helpers import ROOT, call_tool, config_path, run_test
from PIL import Image

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis import files, one_file
from sclip_mmseg.apis.inputs import find_media
from sclip_mmseg.engine import evaluation_runner
from sclip_mmseg.evaluation import ConfusionMetric, store
from sclip_mmseg.models import CLIPSegmentor
from sclip_mmseg.utils.files import explain_full_disk
from sclip_mmseg.utils.processes import map_in_processes
from sclip_mmseg.utils.program import as_program
from sclip_mmseg.visualization import visualizer

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')
FULL = OSError(errno.ENOSPC, 'No space left on device')


def _run(clip_path, root, *flags, **kwargs):
    return run_test(
        *('sclip_vit-b16_voc21', clip_path, '--work-dir', root / 'work', *flags),
        *('--cfg-options', *SMALL, 'test_dataloader.num_workers=0'),
        data_root=root,
        **kwargs,
    )


def _demo(folder, clip_path, *flags, **kwargs):
    return call_tool(
        *(ROOT / 'tools/demo.py', folder, '--classes', 'sky; cat', '--clip', clip_path),
        *('--device', 'cpu', *flags, '--cfg-options', *SMALL),
        **kwargs,
    )


def _raise_at(monkeypatch, owner, name, call, error):
    """Let the call of a function of some number raise an error."""
    function, calls = getattr(owner, name), []

    def stop(*args, **kwargs):
        calls.append(0)
        if len(calls) == call:
            raise error
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize('flag', ['--work-dir', '--out', '--show-dir'])
def test_folders_are_written_to_before_anything_is_read(voc_root, flag):
    (voc_root / 'file').touch()
    flags = {'--work-dir': voc_root / 'work', flag: voc_root / 'file/below'}
    words = [word for pair in flags.items() for word in pair]
    result = run_test('sclip_vit-b16_voc21', 'no.pt', *words, check=False)
    assert result.returncode == 1
    [line] = result.stdout.splitlines()
    assert line.startswith(f'error: cannot write to {voc_root}/file/below (')
    assert line.endswith(f'name another folder by {flag}')


def test_a_full_disk_is_seen_by_writing(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            return open('/dev/full', 'wb', buffering=0)

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(tempfile, 'TemporaryFile', lambda dir: Full())
    with pytest.raises(InputError, match='No space left on device.*: name another'):
        files.make_folder(tmp_path, 'name another folder')


def test_the_place_that_is_full(tmp_path):
    named = OSError(errno.EROFS, 'Read-only file system', '/mnt/x')
    assert explain_full_disk(named, []) == 'cannot write to /mnt/x (Read-only file system)'
    assert explain_full_disk(FULL, [tmp_path]).startswith(f'cannot write to {tmp_path} (No space')
    assert explain_full_disk(OSError(errno.ENOENT, 'No such file'), [tmp_path]) == ''


def test_an_evaluation_resumes_after_a_full_disk(clip_path, voc_root, monkeypatch):
    flags = ('--out', voc_root / 'maps')
    with monkeypatch.context() as patch:
        _raise_at(patch, ConfusionMetric, 'process', 3, FULL)
        result = _run(clip_path, voc_root, *flags, check=False)
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    line = result.stdout.splitlines()[-1]
    assert line.startswith('error: cannot write to ') and '(No space left on device)' in line
    assert line.endswith('free disk space there. 2 of 3 images are done: continue with --resume')
    resumed = _run(clip_path, voc_root, *flags, '--resume').stdout
    assert 'Resumed: 2 of 3 images are done' in resumed


def test_images_that_cannot_be_written(clip_path, voc_root):
    """The second one's file is a link to a device that is always full."""
    flags = ('--show-dir', voc_root / 'pictures')
    assert _run(clip_path, voc_root, *flags).returncode == 0
    drawn = sorted(voc_root.glob('pictures/**/*.png'))
    assert len(drawn) == 3
    drawn[1].unlink()
    drawn[1].symlink_to('/dev/full')
    result = _run(clip_path, voc_root, *flags, check=False)
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    line = result.stdout.splitlines()[-1]
    assert line.startswith('error: cannot write to ') and '(No space left on device)' in line
    assert line.endswith('free disk space there. 1 of 3 images are done: continue with --resume')


def test_images_that_may_not_be_written(clip_path, voc_root, monkeypatch):
    denied = PermissionError(errno.EACCES, 'Permission denied')
    _raise_at(monkeypatch, visualizer.mmcv, 'imwrite', 1, denied)
    result = _run(clip_path, voc_root, '--show-dir', voc_root / 'pictures', check=False)
    line = result.stdout.splitlines()[-1]
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    assert line.startswith(f'error: cannot write {voc_root}/pictures/')
    assert line.endswith('(Permission denied): name another folder by --show-dir')


def test_partial_results_that_cannot_be_saved(clip_path, voc_root, monkeypatch):
    def full(*args):
        raise FULL

    monkeypatch.setattr(os, 'fsync', full)
    result = _run(clip_path, voc_root, check=False)
    line = result.stdout.splitlines()[-1]
    assert 'Traceback' not in result.stdout
    assert line.startswith(f'error: {voc_root}/work/{store.FOLDER}/')
    assert line.endswith('free disk space there. 0 of 3 images are done')
    assert not list((voc_root / 'work' / store.FOLDER).iterdir())


def test_an_interrupted_evaluation(clip_path, voc_root, monkeypatch):
    with monkeypatch.context() as patch:
        _raise_at(patch, ConfusionMetric, 'process', 2, KeyboardInterrupt())
        result = _run(clip_path, voc_root, check=False)
    assert result.returncode == 130 and 'Traceback' not in result.stdout
    line = result.stdout.splitlines()[-1]
    assert line == 'interrupted: 1 of 3 images are done: continue with --resume'
    with monkeypatch.context() as patch:
        _raise_at(patch, ConfusionMetric, 'process', 2, KeyboardInterrupt())
        result = _run(clip_path, voc_root, '--resume', check=False)
    line = result.stdout.splitlines()[-1]
    assert line == 'interrupted: 2 of 3 images are done: run the same command to resume'


VOC21 = config_path('sclip_vit-b16_voc21')
GOES_ON = ': run the same command to resume'


# Tool, arguments, what it calls, what it says of Ctrl-C.
TOOLS = [
    ('check_data', ['voc21'], 'datasets.preparation.check.map_in_processes', ''),
    (
        'prepare_data',
        ['voc21', '--data-root', '.'],
        'datasets.preparation.prepare.RawData',
        GOES_ON,
    ),
    ('make_region_masks', [VOC21, '--out', '.'], 'apis.region_maps.map_in_processes', GOES_ON),
    ('extract_text_embeddings', [VOC21, 'x.npz'], 'apis.embeddings.read_config', ''),
    ('train_projection', [VOC21], 'projection.read_config', ': continue with --resume'),
    ('benchmark', ['--work-dir', '.'], 'benchmark.suite.find_pairs', GOES_ON),
    ('analysis_tools/attention_maps', ['x', '--points', '1,1'], 'apis.read_image', ''),
    (
        *('analysis_tools/sweep_thresholds', [VOC21, '--prob-thd', '0']),
        *('evaluation.preparation.read_config', GOES_ON),
    ),
]


@pytest.mark.parametrize('tool, arguments, place, words', TOOLS)
def test_any_tool_ends_with_one_line(
    voc_root, tmp_path, monkeypatch, tool, arguments, place, words
):
    def stop(error):
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(f'sclip_mmseg.{place}', fail)
        env = {'SCLIP_DATA_ROOT': str(voc_root)}
        result = call_tool(
            ROOT / f'tools/{tool}.py', *arguments, cwd=tmp_path, env=env, check=False
        )
        return result.returncode, result.stdout.splitlines()

    try:
        code, lines = stop(KeyboardInterrupt())
    except KeyboardInterrupt:
        pytest.fail(f'{tool} ends with the traceback of a Ctrl-C')
    assert (code, lines[-1]) == (130, f'interrupted{words}')
    code, lines = stop(InputError('such is wrong'))
    assert code == 1 and any(line.endswith(': such is wrong') for line in lines)
    code, lines = stop(RuntimeError('a bug'))
    assert code == 1 and 'Traceback (most recent call last):' in lines
    assert lines[-1] == 'RuntimeError: a bug'


def test_a_worker_leaves_ctrl_c_to_the_first_process():
    found = map_in_processes(signal.getsignal, [signal.SIGINT] * 2, 2, disable=True)
    assert found == [signal.SIG_IGN] * 2


def test_other_processes_are_silent_about_it(clip_path, voc_root, monkeypatch):
    from sclip_mmseg.utils.program import exit_interrupted

    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit) as stop:
        exit_interrupted('x')
    assert stop.value.code == 130


def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, capsys):
    handler = logging.FileHandler(tmp_path / 'x.log')
    handler.stream.close()
    handler.stream = open('/dev/full', 'w')
    handler.handleError = evaluation_runner.WarnOnce(handler.baseFilename)
    for _ in range(2):
        handler.handle(logging.makeLogRecord({'msg': 'x'}))
    with pytest.raises(OSError):
        handler.stream.close()
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert error.startswith(f'warning: {tmp_path}/x.log is not written: ')


@pytest.fixture
def folder(voc_root):
    return voc_root / 'VOCdevkit/VOC2012/JPEGImages'


@pytest.mark.parametrize(
    'error, code, start',
    [
        (KeyboardInterrupt(), 130, 'interrupted: 1 of 3 files are segmented, in '),
        (FULL, 1, 'error: cannot write to '),
    ],
)
def test_own_images_say_how_many_are_done(
    folder, clip_path, tmp_path, monkeypatch, error, code, start
):
    _raise_at(monkeypatch, one_file, 'segment_array', 2, error)
    result = _demo(folder, clip_path, '--out', tmp_path / 'out', check=False)
    assert result.returncode == code and 'Traceback' not in result.stdout
    line = result.stdout.splitlines()[-1]
    assert line.startswith(start)
    assert line.endswith(f'1 of 3 files are segmented, in {tmp_path}/out')


def _write_header(path, side, end=b'\x00\x00\x00\x10IDAT'):
    """Write a PNG that states a size, and has no pixel."""
    header = b'IHDR' + struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    crc = struct.pack('>I', zlib.crc32(header))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + crc + end)


def test_an_image_of_900_megapixels_is_skipped(folder, clip_path, tmp_path):
    _write_header(folder / 'huge.png', 30000)
    result = _demo(folder, clip_path, '--out', tmp_path / 'out', check=False)
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    lines = result.stdout.splitlines()
    message = f'{folder}/huge.png has more than 178 million pixels: make it smaller'
    assert any(line.startswith(f'skipped: {message}') for line in lines)
    assert lines[-1].startswith(f'error: 1 of 4 not segmented: {message}')
    assert len(list((tmp_path / 'out').glob('*_labels.png'))) == 3


def test_a_size_that_nothing_can_read(tmp_path):
    _write_header(tmp_path / 'x.png', 40000, end=b'')  # Pillow cannot tell what it is
    with pytest.raises(InputError, match=r'x\.png cannot be read as an image'):
        apis.read_image(tmp_path / 'x.png')


@pytest.mark.parametrize(
    'error',
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
)
def test_an_image_that_needs_too_much_memory(clip_path, monkeypatch, error):
    options = {'model.test_cfg.crop_size': 112, 'model.test_cfg.stride': 56}
    model = apis.build_segmentor(['a', 'b'], clip=clip_path, device='cpu', cfg_options=options)
    _raise_at(monkeypatch, CLIPSegmentor, 'test_step', 1, error)
    image = np.zeros((120, 130, 3), np.uint8)
    with pytest.raises(InputError, match='needs more memory than is available: 120×130 pixels, 2'):
        apis.segment(model, image, channels='bgr')
    _raise_at(monkeypatch, CLIPSegmentor, 'test_step', 1, RuntimeError('a mistake'))
    with pytest.raises(RuntimeError, match='a mistake'):
        apis.segment(model, image, channels='bgr')


def test_an_address_is_refused(tmp_path):
    url = 'https://example.org/cat.jpg'
    output = call_tool(ROOT / 'tools/demo.py', url, '--classes', 'a; b', check=False).stdout
    assert output == f'error: {url} is a URL: download it, and name the file\n'
    for function in (apis.read_image, lambda path: find_media([path])):
        with pytest.raises(InputError, match='is a URL: download it'):
            function(url)


def test_many_failures_are_counted(clip_path, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    for index in range(12):
        (folder / f'{index:02d}.jpg').write_bytes(b'no image')
    Image.new('RGB', (120, 120)).save(folder / 'good.png')
    result = _demo(folder, clip_path, '--out', tmp_path / 'out', check=False)
    line = result.stdout.splitlines()[-1]
    assert line.startswith('error: 12 of 13 not segmented: ') and line.endswith(' (and 2 more)')


def test_a_program_says_a_warning_in_one_line(capsys):
    # The form that Python prints; pytest collects the warnings themselves.
    with as_program():
        brief = warnings.formatwarning('no\nfont', UserWarning, 'file.py', 3)
        other = warnings.formatwarning('old', DeprecationWarning, 'file.py', 3)
    assert brief == 'warning: no font\n'
    assert other.startswith('file.py:3: DeprecationWarning: old')
    assert warnings.formatwarning('no', UserWarning, 'file.py', 3).startswith('file.py:3: User')
