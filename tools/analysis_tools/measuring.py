"""Time and memory of programs, and the options that the measuring tools share."""

import argparse
import ctypes
import gc
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

import sclip_mmseg
from sclip_mmseg import InputError

Runs = Mapping[str, Callable[[], object]]


def measure(runs: Runs, repeats: int, device: str = 'cpu') -> dict:
    """Time programs alternately, after a warm-up run of each.

    Returns:
        For each program, median seconds, median CPU seconds (which vary less on a busy machine) and
        peak additional memory in bytes; ratios of each program to the later ones, as medians over
        rounds.
    """
    peaks = {name: peak_memory(run, device) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start, used = time.perf_counter(), time.process_time()
            run()  # ends with a copy to the CPU
            times[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    ratios = {
        f'{x}/{y}': statistics.median(s / t for s, t in zip(times[x], times[y]))
        for x, y in itertools.combinations(runs, 2)
    }
    medians, used = (
        {name: statistics.median(values) for name, values in each.items()} for each in (times, cpu)
    )
    return dict(seconds=medians, cpu_seconds=used, memory=peaks, ratios=ratios, all_seconds=times)


def peak_memory(run: Callable[[], object], device: str) -> int | None:
    """Peak additional memory of a run in bytes.

    On the CPU it is that of the process, on Linux only; None on other systems.
    """
    gc.collect()
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    status = Path('/proc/self/status')
    if not status.is_file():
        run()
        return None

    def resident(key: str) -> int:
        [line] = [line for line in status.read_text().splitlines() if line.startswith(f'{key}:')]
        return int(line.split()[1]) * 1024

    ctypes.CDLL(None).malloc_trim(0)  # free memory in the heap would hide allocations
    Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    before = resident('VmRSS')
    run()
    return resident('VmHWM') - before


def environment() -> dict:
    """Versions and hardware of the measurement."""
    return dict(
        sclip_mmseg=sclip_mmseg.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cpu=platform.processor() or platform.machine(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def report(name: str, result: dict) -> None:
    """Print the result of a case in one line."""
    seconds = '  '.join(f'{key} {value:.3f} s' for key, value in result['seconds'].items())
    ratios = '  '.join(f'{key} {value:.2f}' for key, value in result['ratios'].items())
    memory = '  '.join(
        f'{key} {value / 2**20:.0f} MiB' for key, value in result['memory'].items() if value
    )
    print(f'{name}: {seconds} | {ratios} | {memory}', flush=True)


def new_parser(description: str, repeats: int) -> argparse.ArgumentParser:
    """Parser with the common options of both benchmark programs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--repeats', type=int, default=repeats, help='measured rounds (default: %(default)s)'
    )
    parser.add_argument('--threads', type=int, default=2, help='CPU threads (default: 2)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, and set the number of threads.

    Raises:
        InputError: If the device is not available.
    """
    args = parser.parse_args(arguments)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: no CUDA device is available, use --device cpu')
    torch.set_num_threads(args.threads)
    return args
