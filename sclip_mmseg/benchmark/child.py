"""Commands run as children that end with this process."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Sequence

#: What torchrun puts before each line of a process's output.
_PREFIX = re.compile(r'\[rank\d+\]:')


def torchrun(command: Sequence[str], processes: int, log_dir: Path) -> Sequence[str]:
    """Let torchrun run a Python program in several processes of this machine, on a free port.

    Args:
        command: Program and arguments.
        processes: Their number.
        log_dir: Where torchrun keeps each process's output.

    Returns:
        What to run with Python.
    """
    flags = ['--standalone', f'--nproc-per-node={processes}']
    # So that what the processes say can be told from what torchrun says.
    flags += ['--role=rank', '--tee=3', f'--log-dir={log_dir}']
    return ['-m', 'torch.distributed.run', *flags, *command]


def run_python(command: Sequence[str], log: Path) -> str:
    """Run Python with arguments, to the end.

    Args:
        command: The arguments. The child ends with this process, on Linux even if that is killed.
        log: File that its output is appended to.

    Returns:
        If it failed, its exit status and its reason; otherwise nothing.
    """
    with open(log, 'ab') as output:
        start = output.tell()
        child = subprocess.Popen(
            [sys.executable, '-u', *command],  # so that the log says at once what it says
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with(os.getpid()) if sys.platform == 'linux' else None,
        )
    try:
        code = child.wait()
    finally:
        _end(child)
    if not code:
        return ''
    text = log.read_bytes()[start:].decode(errors='replace')
    return f'exit status {code}, {find_reason(text)}'


def find_reason(log: str) -> str:
    """What a program of this package, or the first of several processes, failed of.

    Args:
        log: Its output.

    Returns:
        The first line that begins with ``error:``, else the last line. With torchrun, which adds a
        report of its own, only lines of the processes count.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    lines = [_PREFIX.sub('', line) for line in lines if _PREFIX.match(line)] or lines
    errors = [line for line in lines if line.startswith('error: ')]
    return (errors + lines[-1:] + [''])[0]


def _end_with(parent: int):
    """What a child runs first: ask Linux for SIGTERM, which torchrun passes on, when it ends."""

    def prepare():
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before
            os._exit(1)

    return prepare


def _end(child: subprocess.Popen) -> None:
    child.terminate()  # nothing, if it has ended
    try:
        child.wait(60)  # torchrun ends its processes first
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
