"""The command `sclip`."""

import ast
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, call_tool, config_path, metrics, run_test
from PIL import Image

from sclip_mmseg import cli
from sclip_mmseg.utils.program import as_program
from sclip_mmseg.zoo import METHODS

CLI = ROOT / 'sclip_mmseg/cli/__main__.py'
SMALL = ('--cfg-options', 'model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')
PROGRAMS = {
    'segment': '--classes',
    'web': '--port',
    'export': '--size',
    'evaluate': '--labels',
    'test': '--work-dir',
    'compare': '--out',
    'benchmark': '--toy',
    'data prepare': '--raw',
    'data check': '--partial',
}
_NOTHING_HEAVY = 'print({"torch", "mmseg", "mmengine", "numpy"} & set(sys.modules))'


def _start(code):
    command = [sys.executable, '-c', f'import sys\nfrom sclip_mmseg import cli\n{code}']
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    'module, arguments, earlier',
    [
        ('segment', ['x.jpg', '--classes', 'a; b'], []),
        ('evaluate', ['--images', 'x', '--labels', 'y', '--classes', 'a'], []),
        ('build_bank', ['x', '--out', 'y'], []),
        ('benchmark', [], ['--nproc-per-node', '--nproc_per_node']),
        ('prepare_data', ['voc20'], ['--nproc']),
        ('check_data', ['voc20'], ['--nproc']),
    ],
)
def test_one_name_for_the_number_of_processes(module, arguments, earlier, capsys):
    """Earlier ones are taken, and not shown."""
    program = importlib.import_module(f'sclip_mmseg.cli.{module}')
    for name in ('--processes', *earlier):
        assert program.parse_args([*arguments, name, '3']).processes == 3
    assert program.parse_args(arguments).processes >= 1
    with pytest.raises(SystemExit):
        program.parse_args([*arguments, '--processes', '0'])
    with pytest.raises(SystemExit):
        program.parse_args(['--help'])
    shown = capsys.readouterr().out
    assert '--processes N' in shown and 'nproc' not in shown


@pytest.mark.parametrize('option', ['--cfg-options', '--format-options'])
def test_options_are_keys_and_values(option, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(['segment', 'x.jpg', '--classes', 'a; b', option, 'overlay.legend'])
    assert stop.value.code == 2
    assert "'overlay.legend' is not as in KEY=VALUE" in capsys.readouterr().err


def test_help_and_methods_do_not_wait_for_pytorch():
    code = 'cli.main([])\ncli.main(["methods", "sclip"])\n'
    output = _start(code + _NOTHING_HEAVY)
    assert output.splitlines()[-1] == 'set()'
    for name in PROGRAMS:
        assert f'\n  sclip {name}  ' in output


def test_every_help_names_sclip():
    lines = [
        'import contextlib',
        f'for name in {list(PROGRAMS)}:',
        '    with contextlib.suppress(SystemExit):',
        '        cli.main([*name.split(), "--help"])',
    ]
    output = _start('\n'.join([*lines, _NOTHING_HEAVY]))
    assert output.splitlines()[-1] == 'set()'
    for name, flag in PROGRAMS.items():
        assert f'usage: sclip {name} [-h]' in output
        assert flag in output
    assert 'usage: demo.py' not in output


@pytest.mark.parametrize(
    'words, hint',
    [
        (['segmet', 'x.jpg'], "'segmet' (did you mean 'segment'?)"),
        (['data', 'chek', 'voc20'], "'data chek' (did you mean 'data check'?)"),
        (['data'], "'data': there are data prepare, data check"),
        (['qqq'], "'qqq': there are segment, web, export, methods"),
    ],
)
def test_a_misspelt_command(words, hint):
    result = call_tool(CLI, *words, check=False)
    assert result.returncode == 2
    assert result.stdout.startswith(f'error: sclip has no command {hint}')
    assert result.stdout.count('\n') == 1


def test_methods():
    lines = call_tool(CLI, 'methods').stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(METHODS)]] == list(METHODS)
    assert 'clearclip/clearclip_vit-b16_*.py  ' in '\n'.join(lines)
    one = call_tool(CLI, 'methods', 'gem').stdout
    assert 'https://arxiv.org/abs/2312.00878' in one
    assert '  sclip_mmseg::gem/gem_vit-b16_voc20.py\n' in one
    wrong = call_tool(CLI, 'methods', 'slcip', check=False)
    assert wrong.stdout == "error: there is no method 'slcip' (did you mean 'sclip'?)\n"


def test_test_is_the_tool(clip_path, voc_root, tmp_path):
    config = config_path('sclip_vit-b16_voc21')
    arguments = (config, clip_path, '--work-dir', tmp_path / 'work', *SMALL)
    environment = {'SCLIP_DATA_ROOT': str(voc_root)}
    output = call_tool(CLI, 'test', *arguments, env=environment).stdout
    tool = run_test('sclip_vit-b16_voc21', *arguments[1:], data_root=voc_root).stdout
    assert metrics(output) == metrics(tool)


def test_segment(clip_path, voc_root, tmp_path):
    image = voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_0.jpg'
    arguments = (image, '--classes', 'sky; cat', '--clip', clip_path, '--device', 'cpu')
    output = call_tool(CLI, 'segment', *arguments, *SMALL, cwd=tmp_path).stdout
    assert f'written to {tmp_path / "segmented"}' in output
    labels = np.array(Image.open(tmp_path / 'segmented/image_0_labels.png'))
    assert labels.shape == (90, 120)


def test_data(voc_root):
    environment = {'SCLIP_DATA_ROOT': str(voc_root)}
    arguments = ('data', 'check', 'voc20', '--partial', '--processes', 1)
    assert 'voc20: 3 images, 3 labels' in call_tool(CLI, *arguments, env=environment).stdout
    made = call_tool(CLI, 'data', 'prepare', 'ade20k', env=environment, check=False)
    assert made.returncode == 1 and 'not prepared: ade20k' in made.stdout


def test_benchmark(voc_root, tmp_path):
    arguments = ('benchmark', '--methods', 'sclpi', '--work-dir', tmp_path)
    result = call_tool(CLI, *arguments, check=False)
    assert result.stdout.startswith("error: no config of method 'sclpi'")


TOOLS = sorted(path for path in (ROOT / 'tools').rglob('*.py') if '__main__' in path.read_text())


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_programs_know_ctrl_c_before_they_import(path):
    """First of all, or after importing what imports nothing that takes long."""
    [*before, start] = ast.parse(path.read_text(encoding='utf-8')).body[1:]
    if before and not all(map(_is_light, before)):
        start = before[0]
    assert ast.unparse(start.test) == "__name__ == '__main__'", 'begin it as the others'
    calls = [line for line in ast.unparse(start.body).splitlines() if 'import ' not in line]
    assert calls[0] == 'end_at_once_if_interrupted()'


def _is_light(statement):
    return isinstance(statement, ast.ImportFrom) and statement.module.startswith(
        ('sclip_mmseg.cli.', 'sclip_mmseg.utils.interrupt')
    )


@pytest.mark.skipif(sys.platform != 'linux', reason='looks in /proc for what is imported')
@pytest.mark.parametrize(
    'program, library',
    [
        (('-m', 'sclip_mmseg.cli', 'segment', 'x.jpg', '--classes', 'a; b'), '_multiarray_umath'),
        (('tools/test.py', 'x.py'), 'libtorch_cpu'),
        (('tools/toy/demo.py',), 'cv2'),
    ],
)
def test_ctrl_c_while_importing(program, library):
    command = [sys.executable, *program]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    end = time.monotonic() + 60
    while library not in Path(f'/proc/{process.pid}/maps').read_text():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert (process.returncode, output) == (130, 'interrupted\n')


def test_ctrl_c_is_an_exception_in_the_work_of_a_program():
    lines = [
        'import signal',
        'from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted',
        'end_at_once_if_interrupted()',
        'from sclip_mmseg.utils.program import as_program',
        'with as_program("go on"):',
        '    try:',
        '        signal.raise_signal(signal.SIGINT)',
        '    finally:',
        '        print("cleaned")',
    ]
    command = [sys.executable, '-c', '\n'.join(lines)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, 'cleaned\n')
    assert result.stderr == 'interrupted: go on\n'


def test_a_closed_pipe_ends_it_silently():
    command = [sys.executable, '-m', 'sclip_mmseg.cli', 'methods']
    for unbuffered in '', '1':  # Python notices at once, or at the end
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, 'PYTHONUNBUFFERED': unbuffered},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        assert (process.communicate()[1], process.returncode) == (b'', 141)


def _log():
    logger = logging.Logger('own')
    logger.addHandler(logging.StreamHandler(sys.stdout))
    logger.error('a line')


@pytest.mark.parametrize('speak', [lambda: print('a line'), _log])
def test_programs_end_with_their_reader(speak, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, 'w', buffering=1) as stream:
        monkeypatch.setattr(sys, 'stdout', stream)
        with pytest.raises(SystemExit) as stop, as_program():
            speak()
    assert stop.value.code == 141


def test_other_broken_pipes_keep_their_traceback(capsys):
    with pytest.raises(BrokenPipeError, match='of a worker'), as_program():
        raise BrokenPipeError('of a worker')
