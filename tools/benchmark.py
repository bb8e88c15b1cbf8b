#!/usr/bin/env python
"""Evaluate methods on benchmarks and compare with the published numbers.

Each pair is a run of tools/test.py in a folder of its own. Interrupted at any moment, the same
command goes on; pairs that are finished are not run again. On several GPUs: torchrun
--nproc_per_node N tools/benchmark.py …
"""

import argparse
import csv
import ctypes
import hashlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = (
    'voc21 context60 coco_object voc20 context59 coco_stuff164k coco_stuff10k cityscapes ade20k'
).split()
# The rows of the papers' tables that need no training.
METHODS = (
    'clip maskclip sclip clearclip naclip resclip-sclip resclip-clearclip resclip-naclip'
).split()


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = lambda text: text.split(',')  # noqa: E731
    parser.add_argument(
        '--methods',
        type=words,
        help='names of configs up to the backbone, separated by commas; default: those of the '
        "papers' tables (with --toy, all there are)",
    )
    parser.add_argument(
        '--benchmarks', type=words, help='separated by commas; default: all there are'
    )
    parser.add_argument('--backbone', default='vit-b16', help='vit-b16 (default) or vit-l14')
    parser.add_argument(
        '--toy',
        action='store_const',
        const='toy',
        dest='backbone',
        help='the small CLIP and the drawn pictures of data/toy',
    )
    parser.add_argument('--checkpoint', help="CLIP by name or path instead of the configs' own")
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images of each')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/benchmark, with backbone and limit in its name where given',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help="as for tools/test.py; '{benchmark}' in a value becomes the benchmark's name",
    )
    args = parser.parse_args()
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit {args.limit} must be positive')
    if args.work_dir is None:
        parts = ['benchmark', args.backbone.replace('vit-b16', ''), str(args.limit or '')]
        args.work_dir = Path('work_dirs', '_'.join(filter(None, parts)))
    return args


def find_pairs(args: argparse.Namespace) -> list:
    """List what is asked for, with the published numbers of the model index.

    Raises:
        InputError: If a method, benchmark or backbone has no config.
    """
    from mmengine.fileio import load

    from sclip_mmseg import InputError
    from sclip_mmseg.apis.results import Result

    found = {}
    for path in load(ROOT / 'model-index.yml')['Import']:
        for model in load(ROOT / path)['Models']:
            method, _, benchmark = model['Name'].partition(f'_{args.backbone}_')
            published = model['Results'][0].get('Metrics', {}).get('mIoU')
            if benchmark in BENCHMARKS:
                found[method, benchmark] = Result(
                    method, benchmark, model['Config'], published=published
                )
    if not found:
        raise InputError(f"no config of backbone '{args.backbone}': use vit-b16 or vit-l14")
    everything = [list(dict.fromkeys(names)) for names in zip(*found)]
    everything[0].sort(key=lambda name: (*METHODS, name).index(name))
    default = [name for name in everything[0] if args.backbone == 'toy' or name in METHODS]
    methods, benchmarks = args.methods or default, args.benchmarks or BENCHMARKS
    for name, chosen, known in zip(
        ('method', 'benchmark'), (methods, args.benchmarks or []), everything
    ):
        for item in chosen:
            if item not in known:
                raise InputError(f"no config of {name} '{item}': use {', '.join(sorted(known))}")
    return [found[m, b] for b in benchmarks for m in methods if (m, b) in found]


class Pair:
    """The evaluation of a method on a benchmark.

    Args:
        result: What is known of it.
        args: The command line.
    """

    def __init__(self, result, args: argparse.Namespace):
        self.result = result
        self.name = Path(result.config).stem
        self.folder = args.work_dir / self.name
        self.finished = self.folder / 'result.json'
        self.report = self.folder / 'report.json'
        options = [text.replace('{benchmark}', result.benchmark) for text in args.cfg_options]
        options += ['test_evaluator.type=ReportingIoUMetric']
        options += [f'test_evaluator.report_file={self.report}']
        if args.limit:
            options += [f'test_dataloader.dataset.indices={args.limit}']
        self.checkpoint = [args.checkpoint] if args.checkpoint else []
        self.options = options

    @property
    def command(self) -> List[str]:
        """How tools/test.py is run."""
        launcher = ['--launcher', 'pytorch'] if _world_size() > 1 else []
        tool = [sys.executable, ROOT / 'tools/test.py', ROOT / self.result.config]
        flags = ['--work-dir', self.folder, '--resume', *launcher, '--cfg-options', *self.options]
        return list(map(str, [*tool, *self.checkpoint, *flags]))

    def prepare(self, datasets: Dict[str, object]) -> None:
        """Find out whether the dataset is there, and whether the evaluation is finished.

        Args:
            datasets: By benchmark, to be filled.

        Raises:
            InputError: If a setting cannot be used, or a finished evaluation had other settings.
        """
        from mmengine.registry import init_default_scope

        from sclip_mmseg import InputError
        from sclip_mmseg.config import read_config
        from sclip_mmseg.datasets.checks import check_files, load_dataset
        from sclip_mmseg.engine import evaluation_settings, list_changes

        cfg = read_config(str(ROOT / self.result.config))
        if self.checkpoint:
            cfg.model.image_encoder.clip = self.checkpoint[0]
        cfg.merge_from_dict(_parse_options(self.options))
        init_default_scope(cfg.default_scope)
        key = self.result.benchmark
        if key not in datasets:
            try:
                datasets[key] = load_dataset(cfg.test_dataloader.dataset)
                check_files(datasets[key])
            except InputError as error:
                datasets[key] = error
        if isinstance(datasets[key], InputError):
            self.result.status, self.result.reason = 'missing', str(datasets[key])
            return
        self.settings = evaluation_settings(cfg, datasets[key])
        self.result.images = len(datasets[key])
        self.result.weights = self._digest('image_encoder.clip')
        self.result.queries = self._digest('text_head.embeddings') or self._digest_of_queries()
        if self.finished.is_file():
            content = json.loads(self.finished.read_text())
            changes, _ = list_changes(content['settings'], self.settings)
            if changes:
                raise InputError(
                    f'{self.finished} was made with other settings, {"; ".join(changes[:3])}: name '
                    'another --work-dir, or remove the folder to run it again'
                )
            self._fill_in(content['report'], content['circumstances'])

    def _digest(self, name: str) -> str:
        [value] = [v for k, v in self.settings.items() if k.endswith(name)] or ['']
        return value.replace('SHA-256 ', '')

    def _digest_of_queries(self) -> str:
        queries = [v for k, v in self.settings.items() if '.text_head.queries.' in k]
        return hashlib.sha256(json.dumps(queries).encode()).hexdigest()

    def finish(self) -> None:
        """Keep the result of a run that ended well."""
        report = json.loads(self.report.read_text())
        if report['seconds_per_iteration'] is not None:
            per_iteration = self.settings['test_dataloader.batch_size'] * _world_size()
            report['seconds_per_image'] = report['seconds_per_iteration'] / per_iteration
        part = self.finished.with_suffix('.part')
        circumstances = describe_machine()
        content = dict(settings=self.settings, report=report, circumstances=circumstances)
        part.write_text(json.dumps(content, indent=1))
        os.replace(part, self.finished)
        self._fill_in(report, circumstances)

    def _fill_in(self, report: dict, circumstances: dict) -> None:
        self.result.status = 'done'
        self.result.circumstances = circumstances
        for name in ('mIoU', 'aAcc', 'mAcc'):
            setattr(self.result, name, report['metrics'][name])
        self.result.seconds_per_image = report.get('seconds_per_image')
        self.result.peak_memory = report['peak_memory']
        self.classes = report['classes']

    def write_classes(self, folder: Path) -> None:
        """Write IoU and accuracy of each class in percent."""
        folder.mkdir(exist_ok=True)
        with open(folder / f'{self.name}.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, ['class', 'IoU', 'Acc'])
            writer.writeheader()
            writer.writerows({'class': name, **values} for name, values in self.classes.items())


def _parse_options(options: Sequence[str]) -> dict:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def _world_size() -> int:
    return int(os.environ.get('WORLD_SIZE', 1))


def announce(
    command: Optional[List[str]] = None, log: Optional[Path] = None
) -> Tuple[Optional[List[str]], Optional[Path], int]:
    """Tell all processes of torchrun what the first one wants to be run.

    Args:
        command: Of the first process; None for the end.
        log: Its log.

    Returns:
        The first process's command and log, and a port for the processes that run it.
    """
    from torch import distributed

    message = [command, log, _free_port()]
    if _world_size() > 1:
        distributed.broadcast_object_list(message)
    return tuple(message)


def run(command: List[str], log: Path, port: int) -> str:
    """Run a command in each process of torchrun, as processes of one group; or in this one.

    Args:
        command: What to run. It ends with this process, on Linux even if that is killed.
        log: File that the first process's output is appended to; the others' have their rank in
            their names.
        port: For the group's store. (torchrun's own serves the group of this tool.)

    Returns:
        What the first one that failed said last, with its exit status; or nothing.
    """
    world, rank = _world_size(), os.environ.get('RANK', '0')
    if rank != '0':
        log = log.with_name(f'{log.stem}_rank{rank}{log.suffix}')
    env = {key: value for key, value in os.environ.items() if not key.startswith('TORCHELASTIC')}
    if world > 1:
        env['MASTER_PORT'] = str(port)
    with open(log, 'a') as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            preexec_fn=_die_with_parent if sys.platform == 'linux' else None,
        )
    try:
        while True:
            try:
                code = child.wait(timeout=1)
                ends = [f'exit status {code}, {last_line(log)}' if code else '']
            except subprocess.TimeoutExpired:
                ends = [None]
            ends = _gather(ends[0], world) if world > 1 else ends
            failed = next(filter(None, ends), '')
            if failed or None not in ends:
                return failed
    finally:
        child.kill()
        child.wait()


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _gather(end: Optional[str], world: int) -> list:
    from torch import distributed

    ends = [None] * world
    distributed.all_gather_object(ends, end)
    return ends


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(('', 0))
        return server.getsockname()[1]


def describe_machine() -> dict:
    """What a result was made with."""
    import mmcv
    import mmengine
    import mmseg
    import torch

    import sclip_mmseg

    versions = {m.__name__: m.__version__ for m in (sclip_mmseg, torch, mmseg, mmengine, mmcv)}
    cuda = torch.cuda.is_available()
    return dict(
        versions=', '.join(f'{name} {version}' for name, version in versions.items()),
        python=platform.python_version(),
        device=torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()})',
        processes=_world_size(),
    )


def describe(args: argparse.Namespace) -> dict:
    """What holds for all results."""
    about = dict(checkpoint=args.checkpoint or "the configs' own")
    if args.limit:
        about['images'] = f'only the first {args.limit} of each benchmark: not the published task'
    if args.cfg_options:
        about['cfg-options'] = ' '.join(args.cfg_options)
    return about


def last_line(log: Path) -> str:
    """The last line of a log, which tools/test.py explains its failure in."""
    lines = log.read_text(errors='replace').strip().splitlines()
    return lines[-1] if lines else ''


def lead(args: argparse.Namespace) -> bool:
    """Run all pairs from the first process.

    Returns:
        Whether none failed.
    """
    from sclip_mmseg.apis.results import to_markdown, write_results

    pairs = [Pair(result, args) for result in find_pairs(args)]
    datasets: Dict[str, object] = {}
    for pair in pairs:
        pair.prepare(datasets)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    about = describe(args)
    results = [pair.result for pair in pairs]
    for number, pair in enumerate(pairs, 1):
        result = pair.result
        if result.status == 'open':
            log = pair.folder / 'console.log'
            pair.folder.mkdir(exist_ok=True)
            print(f'[{number}/{len(pairs)}] {pair.name}: {result.images} images, see {log}')
            sys.stdout.flush()
            if reason := run(*announce(pair.command, log)):
                result.status, result.reason = 'failed', reason
            else:
                pair.finish()
        if result.status == 'done':
            pair.write_classes(args.work_dir / 'per_class')
        write_results(args.work_dir, results, about)
    print(to_markdown(results, about))
    print(f'{args.work_dir.resolve()}/results.{{md,csv,json,png}}, per_class/*.csv')
    return all(result.status != 'failed' for result in results)


def main() -> None:
    """Run all pairs; exit with 1 if one failed."""
    args = parse_args()
    # So that a child ends with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    from torch import distributed

    from sclip_mmseg import InputError

    if _world_size() > 1:
        distributed.init_process_group('gloo', timeout=timedelta(days=1))
        if distributed.get_rank() > 0:
            while (announced := announce())[0] is not None:
                run(*announced)
            distributed.destroy_process_group()
            return
    try:
        fine = lead(args)
    except InputError as error:
        sys.exit(f'error: {error}')
    announce()
    if _world_size() > 1:  # whose threads would abort the interpreter at its exit
        distributed.destroy_process_group()
    sys.exit(not fine)


if __name__ == '__main__':
    main()
