#!/usr/bin/env python
"""Kill evaluations at seeded random moments, resume them, and compare with an unbroken one.

Each run of tools/test.py lives for a random part of the time that the unbroken one takes to start
or, more often, to evaluate; then all of its processes, or one of them, get SIGKILL. What is left is
resumed, and killed again or finished. Every finished table must be the unbroken one's, to the last
bit. Linux only.
"""

if __name__ == '__main__':  # before all imports, which take seconds
    from sclip_mmseg.utils.interrupt import end_at_once_if_interrupted

    end_at_once_if_interrupted()

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sclip_mmseg.evaluation import Result
from sclip_mmseg.utils.program import as_program
from sclip_mmseg.utils.shipped import tools_dir

#: Seconds in which a run whose process was killed has to end by itself.
PATIENCE = 120
#: Seconds in which a run has to reach its first image, and to be finished from there.
LIMIT = 600
#: What a run logs before the first image.
BEGINS = b'Resumed:'
#: How many of ten kills come before the first image.
EARLY = 2


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--kills', type=int, default=50, help='number of kills (default: 50)')
    parser.add_argument('--processes', type=int, default=1, help='by torchrun (default: 1)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/kill_and_resume'))
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='as for tools/test.py, for every run'
    )
    return parser.parse_args(argv)


def processes_below(pid: int) -> list[int]:
    """A process and all that it started, by their ids."""
    children: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = path.read_text().rpartition(')')[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] != 'Z':
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def kill(pids: Sequence[int]) -> None:
    """Send SIGKILL to processes, of which some may have ended."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Run:
    """A run of tools/test.py that goes on with what is in its folder.

    Args:
        args: The command line.
        folder: Its work directory.
        save_interval: See :class:`sclip_mmseg.evaluation.ResumableTestLoop`.
    """

    def __init__(self, args: argparse.Namespace, folder: Path, save_interval: float = 30.0):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / 'console.log'
        command = [str(tools_dir() / 'test.py'), args.config, '--work-dir', str(folder), '--resume']
        if args.processes > 1:
            command += ['--launcher', 'pytorch']
        command += ['--cfg-options', *args.cfg_options, f'test_cfg.save_interval={save_interval}']
        if args.processes > 1:
            torchrun = ['-m', 'torch.distributed.run', '--standalone']
            command = [*torchrun, f'--nproc-per-node={args.processes}', *command]
        with open(self.log, 'ab') as log:
            self._logged = log.tell()
            self.process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; ends this program if the run has failed.

        Returns:
            Whether the run is finished.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code:
            sys.exit(f'error: a run ended with exit status {code}, see {self.log}')
        return True

    def wait_for_images(self) -> float:
        """Wait until the evaluation begins.

        Returns:
            The seconds that it took.
        """
        began = time.monotonic()
        while BEGINS not in self.log.read_bytes()[self._logged :]:
            if self.wait(0.02) or time.monotonic() - began > LIMIT:
                break
        return time.monotonic() - began

    def table(self) -> dict:
        """What it measured, unrounded, once it is finished."""
        if not self.wait(LIMIT):
            self.kill(0)
            sys.exit(f'error: a run is not finished after {LIMIT} s, see {self.log}')
        result = Result.load(self.folder / 'result.npz')
        return dict(metrics=result.metrics(), classes=result.by_class())

    def kill(self, number: int) -> str:
        """Kill one of its processes, or all of them if it is the first.

        Returns:
            Who was killed.
        """
        pids = processes_below(self.process.pid)
        number %= len(pids)
        if number == 0:  # what the first one started would go on without it
            kill(pids)
            self.process.wait()
            return f'all {len(pids)} processes'
        kill([pids[number]])
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            kill(processes_below(self.process.pid))
            sys.exit(f'error: a run without one of its processes does not end, see {self.log}')
        return f'process {number} of {len(pids)}'


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, resume and compare; exit with 1 at the first table that differs."""
    args = parse_args(argv)
    choose = random.Random(args.seed)
    shutil.rmtree(args.work_dir, ignore_errors=True)
    unbroken = Run(args, args.work_dir / 'unbroken')
    start = unbroken.wait_for_images()
    began = time.monotonic()
    expected = unbroken.table()
    duration = time.monotonic() - began
    print(f'unbroken: {start:.1f} + {duration:.1f} s, {expected["metrics"]}', flush=True)

    kills = finished = 0
    while kills < args.kills:
        finished += 1
        folder = args.work_dir / f'evaluation_{finished}'
        for _ in range(choose.randint(1, 6)):
            early = choose.randrange(10) < EARLY
            seconds = choose.uniform(0, start if early else duration)
            interval = choose.choice([0.0, 0.1, 1.0])
            victim = choose.choice([0, choose.randrange(100)])
            run = Run(args, folder, interval)
            if not early:
                run.wait_for_images()
            if run.wait(seconds):
                break
            killed = run.kill(victim)
            kills += 1
            where = 'start' if early else 'first image'
            saved = len(list((folder / 'partial_results').glob('*.pt')))
            print(
                f'kill {kills}: {killed}, {seconds:.2f} s after the {where}; '
                f'{saved} files of partial results',
                flush=True,
            )
        else:
            run = Run(args, folder)
        if run.table() != expected:
            sys.exit(f'error: {folder} has another table')
        print(f'evaluation {finished} has the same table', flush=True)
    print(f'{kills} kills, {finished} evaluations finished, all tables equal')


if __name__ == '__main__':
    with as_program():
        main()
