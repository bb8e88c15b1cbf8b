"""The scripts that start several processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT, config_path, make_voc

from sclip_mmseg.evaluation import Result

pytestmark = pytest.mark.skipif(os.name != 'posix', reason='shell scripts')
SMALL = [
    'model.test_cfg.crop_size=64',
    'model.test_cfg.stride=64',
    'test_dataloader.dataset.pipeline.1.scale=(128,64)',
    'test_dataloader.num_workers=0',
    'test_cfg.save_interval=0',
]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Runs a script with stand-ins for programs; returns the words of its last command."""
    for name in ('srun', 'python'):
        program = tmp_path / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    names = ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'TORCHRUN_ARGS', 'NNODES')
    for name in names:
        monkeypatch.delenv(name, raising=False)

    def start(script, *arguments, **env):
        command = ['bash', ROOT / 'tools' / script, *arguments]
        environ = {**os.environ, **env}
        output = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, check=True, text=True
        ).stdout
        program, *words = output.splitlines()
        assert Path(program).parent == tmp_path
        return words

    return start


def test_slurm_starts_a_process_per_gpu(started):
    words = started('slurm_test.sh', 'gpu', 'job', 'config.py', '--resume', GPUS='16')
    assert words[:2] == ['-p', 'gpu'] and words[-3:] == ['--launcher', 'slurm', '--resume']
    for word in ('--ntasks=16', '--gres=gpu:8', '--ntasks-per-node=8', '--cpus-per-task=5'):
        assert word in words


def test_slurm_gives_few_processes_no_more_gpus(started):
    assert '--gres=gpu:2' in started('slurm_test.sh', 'gpu', 'job', 'config.py', GPUS='2')


def test_slurm_asks_for_no_gpus_where_there_are_none(started):
    env = dict(GPUS='4', GPUS_PER_NODE='0', SRUN_ARGS='--ntasks-per-node=2 --mem=16G')
    words = started('slurm_test.sh', 'cpu', 'job', 'config.py', **env)
    assert [word for word in words if 'gpu' in word] == []
    assert {'--ntasks=4', '--ntasks-per-node=2', '--mem=16G'} <= set(words)


def test_torchrun_gets_what_the_script_does_not_know(started):
    args = '--rdzv-backend=c10d --max-restarts=3'
    words = started('dist_test.sh', 'config.py', '2', '--resume', TORCHRUN_ARGS=args)
    program = words.index(str(ROOT / 'tools/test.py'))
    assert {'--nproc_per_node=2', *args.split()} <= set(words[:program])
    assert words[program + 1 :] == ['config.py', '--launcher', 'pytorch', '--resume']


def _free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


def _dist_test(arguments, processes=1, **env):
    """Start tools/dist_test.sh."""
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return subprocess.Popen(
        ['bash', ROOT / 'tools/dist_test.sh', arguments[0], str(processes), *arguments[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
    )


def _children(pid):
    output = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(pid)], stdout=subprocess.PIPE)
    return [int(word) for word in output.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize('way', ['machines', 'c10d', 'one machine'])
def test_a_killed_process_is_restarted_and_resumes(clip_path, tmp_path, monkeypatch, way):
    """Two agents of torchrun by either rendezvous, and one with two processes."""
    root = make_voc(tmp_path / 'data', sizes=[(40, 60), (60, 40), (64, 64), (80, 90)] * 16)
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(root))

    def arguments(work_dir):
        config = config_path('sclip_vit-b16_voc21')
        return [config, clip_path, '--work-dir', work_dir, '--cfg-options', *SMALL]

    def table(work_dir):
        result = Result.load(work_dir / 'result.npz')
        return result.metrics(), result.by_class()

    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    subprocess.run([sys.executable, ROOT / 'tools/test.py', *arguments(whole)], check=True)
    port = _free_port()
    c10d = f'--rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{port} --rdzv-id=1 --max-restarts=2'
    if way == 'machines':
        agents = [dict(NNODES='2', NODE_RANK=rank, PORT=port) for rank in '01']
    elif way == 'c10d':
        agents = [dict(NNODES='2', TORCHRUN_ARGS=c10d)] * 2
    else:
        agents = [dict(PORT=port, TORCHRUN_ARGS='--max-restarts=2', processes=2)]
    agents = [_dist_test(arguments(broken), **env) for env in agents]
    if way != 'machines':  # a restart needs the other way
        while not list(broken.glob('partial_results/*.pt')) and agents[0].poll() is None:
            time.sleep(0.01)
        os.kill(_children(agents[-1].pid)[0], signal.SIGKILL)
    outputs = [agent.communicate()[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * len(agents), outputs
    if way != 'machines':
        assert any('images are done' in output for output in outputs), outputs
    assert table(broken) == table(whole)
