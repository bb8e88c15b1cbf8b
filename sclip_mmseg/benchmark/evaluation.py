"""The evaluation of pairs, each by a run of ``tools/test.py`` that can be interrupted."""

import argparse
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from mmengine.config import DictAction
from mmengine.registry import init_default_scope

from ..config import read_config, set_checkpoint
from ..datasets.checks import check_files, load_dataset
from ..engine import evaluation_settings, list_changes
from ..utils.errors import InputError
from ..utils.shipped import shipped_root, tools_dir
from .child import run_python, torchrun
from .follow import show_progress
from .machine import describe_machine
from .results import Result, write_classes, write_results


@dataclass
class Options:
    """What holds for all pairs.

    Attributes:
        work_dir: A folder per pair is made here.
        checkpoint: CLIP, or trained system, by name or path; None for the configs' own.
        limit: Number of images of each benchmark; None for all.
        cfg_options: As for ``tools/test.py``, ``{benchmark}`` being the benchmark's name.
        processes: Number of processes that share the images of a pair.
    """

    work_dir: Path
    checkpoint: Optional[str] = None
    limit: Optional[int] = None
    cfg_options: Sequence[str] = ()
    processes: int = 1

    def describe(self) -> Dict[str, str]:
        """What the tables of results say of them."""
        about = dict(checkpoint=self.checkpoint or "the configs' own")
        if self.limit:
            about['images'] = (
                f'only the first {self.limit} of each benchmark: not the published task'
            )
        if self.cfg_options:
            about['cfg-options'] = ' '.join(self.cfg_options)
        return about


def evaluate(pairs: Sequence[Result], options: Options) -> None:
    """Evaluate all pairs, write tables of their results after each, and print how far it is.

    Args:
        pairs: From :func:`.pairs.find_pairs`; filled in.
        options: What holds for all of them.

    Raises:
        InputError: If a setting cannot be used, before the first is evaluated.
    """
    evaluations = [Evaluation(result, options) for result in pairs]
    datasets: Dict[str, object] = {}
    for evaluation in evaluations:
        evaluation.prepare(datasets)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    for number, evaluation in enumerate(evaluations, 1):
        result = evaluation.result
        if result.status == 'open':
            place = f'[{number}/{len(pairs)}] {result.name}'
            print(f'{place}: {result.images} images, see {evaluation.log}', flush=True)
            evaluation.run()
        if result.status == 'done':
            write_classes(options.work_dir / 'per_class', result.name, evaluation.classes)
        write_results(options.work_dir, pairs, options.describe())


class Evaluation:
    """The evaluation of a pair: a run of ``tools/test.py`` in a folder of its own.

    Args:
        result: What is known of the pair; filled in.
        options: What holds for all pairs.
    """

    def __init__(self, result: Result, options: Options):
        self.result = result
        self.options = options
        self.folder = options.work_dir / result.name
        self.log = self.folder / 'console.log'
        self._finished = self.folder / 'result.json'
        self._report = self.folder / 'report.json'
        cfg_options = [o.replace('{benchmark}', result.benchmark) for o in options.cfg_options]
        cfg_options += ['test_evaluator.type=ReportingIoUMetric']
        cfg_options += [f'test_evaluator.report_file={self._report}']
        if options.limit:
            cfg_options += [f'test_dataloader.dataset.indices={options.limit}']
        self._cfg_options = cfg_options
        self._settings: dict = {}
        #: Class name → IoU and Acc in percent, where the evaluation is finished.
        self.classes: Dict[str, dict] = {}

    @property
    def _config(self) -> Path:
        return shipped_root() / self.result.config

    @property
    def command(self) -> List[str]:
        """What Python is run with."""
        options = self.options
        checkpoint = [options.checkpoint] if options.checkpoint else []
        command = [tools_dir() / 'test.py', self._config, *checkpoint]
        command += ['--work-dir', self.folder, '--resume']
        if options.processes > 1:
            command += ['--launcher', 'pytorch']
        command += ['--cfg-options', *self._cfg_options]
        if options.processes > 1:
            command = torchrun(command, options.processes, self.folder / 'torchrun')
        return list(map(str, command))

    def prepare(self, datasets: Dict[str, object]) -> None:
        """Find out whether the dataset is there, and whether the evaluation is finished.

        Args:
            datasets: By benchmark, to be filled.

        Raises:
            InputError: If a setting cannot be used, or a finished evaluation had other settings.
        """
        cfg = read_config(str(self._config))
        if self.options.checkpoint:
            set_checkpoint(cfg, self.options.checkpoint)
        cfg.merge_from_dict(_parse_options(self._cfg_options))
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
        try:
            self._settings = evaluation_settings(cfg, datasets[key])
        except InputError as error:
            raise InputError(f'{self.result.name}: {error}') from error
        self.result.images = len(datasets[key])
        trained = self._digest('image_encoder.checkpoint')
        self.result.weights = trained or self._digest('image_encoder.clip')
        self.result.queries = self._digest('text_head.embeddings') or self._digest_of_queries()
        if self._finished.is_file():
            content = json.loads(self._finished.read_text())
            changes, _ = list_changes(content['settings'], self._settings)
            if changes:
                raise InputError(
                    f'{self._finished} was made with other settings, {"; ".join(changes[:3])}: '
                    'name another --work-dir, or remove the folder to run it again'
                )
            self._fill_in(content['report'], content['circumstances'])

    def run(self) -> None:
        """Evaluate, or go on with an interrupted evaluation."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with show_progress(self.log):
            reason = run_python(self.command, self.log)
        if reason:
            self.result.status, self.result.reason = 'failed', reason
        else:
            self._keep()

    def _digest(self, name: str) -> str:
        [value] = [v for k, v in self._settings.items() if k.endswith(name)] or ['']
        return value.replace('SHA-256 ', '')

    def _digest_of_queries(self) -> str:
        queries = [v for k, v in self._settings.items() if '.text_head.queries.' in k]
        return hashlib.sha256(json.dumps(queries).encode()).hexdigest()

    def _keep(self) -> None:
        report = json.loads(self._report.read_text())
        if report['seconds_per_iteration'] is not None:
            images = self._settings['test_dataloader.batch_size'] * self.options.processes
            report['seconds_per_image'] = report['seconds_per_iteration'] / images
        circumstances = dict(describe_machine(), processes=self.options.processes)
        content = dict(settings=self._settings, report=report, circumstances=circumstances)
        part = self._finished.with_suffix('.part')
        part.write_text(json.dumps(content, indent=1))
        os.replace(part, self._finished)
        self._fill_in(report, circumstances)

    def _fill_in(self, report: dict, circumstances: dict) -> None:
        self.result.status = 'done'
        self.result.circumstances = circumstances
        for name in ('mIoU', 'aAcc', 'mAcc'):
            setattr(self.result, name, report['metrics'][name])
        self.result.seconds_per_image = report.get('seconds_per_image')
        self.result.peak_memory = report['peak_memory']
        self.classes = report['classes']


def _parse_options(options: Sequence[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options
