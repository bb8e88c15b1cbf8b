"""The processes of a run: only this one, or several, each with its own model."""

import logging
import math
import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePath
from typing import Any

import cv2
import torch
from mmengine.logging import MMLogger, print_log

from ..engine.loader_workers import count_cores
from ..evaluation.fingerprint import Fingerprint
from ..utils.errors import HalfOverflow
from ..utils.processes import call_pickled, map_unordered, start_process
from ..utils.progress import Progress
from ..zoo import TOY, default_method, is_toy
from .maps import MapRun
from .one_file import FileSegmenter, Settings
from .own_config import own_config
from .precision import Choice
from .shrinking import SHRUNK
from .writers import ClassInfo, Record

#: An image or video, and the beginning of the names of its results.
File = tuple[Path, PurePath]
#: Files in order of completion, with their records or the reasons for skipping them.
Outcomes = Iterator[tuple[File, Record | str]]
_segmenter: Callable[[], FileSegmenter]  # set in worker processes


_PARTS = 3  # parts of a map per process: parts with little data are done sooner


@dataclass(frozen=True)
class MapJob:
    """Some blocks of a map, for a process.

    Attributes:
        file: The map.
        in_full: Whether to use float32, for maps that overflow float16.
        blocks: Numbers of the blocks.
        stretch: Stretch of the map's values; None if it is not known yet, or there is none.
    """

    file: File
    in_full: bool
    blocks: Sequence[int] = ()
    stretch: tuple[float, float] | None = None

    def open(self) -> MapRun:
        """Open the map in this process."""
        return _segmenter().map_run(*self.file, self.in_full, self.stretch)


@dataclass(frozen=True)
class Description:
    """Description of a run's model.

    Attributes:
        classes: The K classes.
        precision: Precision of the image encoder, with the reason.
        fingerprint: All settings that the results depend on; None if the run cannot be resumed.
    """

    classes: Sequence[ClassInfo]
    precision: Choice
    fingerprint: Fingerprint | None


class OneProcess:
    """Segments in this process; for ``settings`` see :class:`.one_file.FileSegmenter`."""

    def __init__(self, settings: Settings, on_progress: Callable[[str], None]):
        self.segment, self.on_progress = FileSegmenter(settings), on_progress

    def describe(self, for_resume: bool) -> Description:
        """Describe the model."""
        return _describe(self.segment, for_resume)

    def run(self, files: Sequence[File]) -> Outcomes:
        """Segment files."""
        return ((file, self.segment(*file, self.on_progress)) for file in files)


class SeveralProcesses:
    """Segments in several processes, which divide the cores.

    Processes are spawned, not forked: neither PyTorch's threads nor CUDA survive a fork.
    """

    def __init__(self, settings: Settings, count: int, on_progress: Callable[[str], None]):
        self.settings, self.count, self.on_progress = settings, count, on_progress
        self._said: set[str] = set()
        if is_toy(settings.build.get('clip')):
            print_log(TOY, 'current')
        build = settings.build
        method = build['method'] or default_method(build['clip'])
        parts = (build[key] for key in ('clip', 'cfg_options', 'regions'))
        own_config(build['classes'], build['background'], method, *parts)  # refuses at once
        threads = max(count_cores() // count, 1)
        context = multiprocessing.get_context('spawn')
        content = pickle.dumps((_prepare, settings, threads))
        self._pool = ProcessPoolExecutor(count, context, call_pickled, (content,))
        self._ahead = 2 * count

    def describe(self, for_resume: bool) -> Description:
        """Describe the model of one of the processes."""
        [(_, about)] = map_unordered(self._pool, _describe_there, [for_resume], 1)
        return about

    def run(self, files: Sequence[File]) -> Outcomes:
        """Segment images and videos, one per process, and then maps, each by all processes."""
        maps = [file for file in files if self.settings.is_map(file[0])]
        with self._pool:
            images = [file for file in files if file not in maps]
            yield from self._ask(_segment_there, images)
            for file in maps:
                try:
                    yield file, self._segment_map(file, False)
                except HalfOverflow:
                    yield file, self._segment_map(file, True)

    def _ask(self, function: Callable[[Any], tuple[Any, list[str]]], items: Sequence) -> Iterator:
        for item, (outcome, said) in map_unordered(self._pool, function, items, self._ahead):
            for message in said:
                kind = SHRUNK if SHRUNK in message else message  # each process warns once
                if kind not in self._said:
                    self._said.add(kind)
                    warnings.warn(message, stacklevel=3)
            yield item, outcome

    def _segment_map(self, file: File, in_full: bool) -> Record | str:
        """Divide the blocks of a map, neighbours to one process so that it encodes windows once."""
        job = MapJob(file, in_full)
        [(_, opened)] = self._ask(_open_there, [job])
        if isinstance(opened, str):
            return opened
        todo, notes, stretch = opened
        job = replace(job, stretch=stretch)  # percentiles are computed only once
        for note in notes:
            self.on_progress(note)
        length = max(math.ceil(len(todo) / (_PARTS * self.count)), 1)
        parts = [replace(job, blocks=todo[i : i + length]) for i in range(0, len(todo), length)]
        progress = Progress(len(todo), 'blocks')
        done = 0
        for part, outcome in self._ask(_run_there, parts):
            if outcome is not None:
                return outcome
            done += len(part.blocks)
            if progress.is_due(done) and done < len(todo):
                self.on_progress(f'{file[0]}: {progress}')
        [(_, record)] = self._ask(_finish_there, [job])
        return record


def _describe(segmenter: FileSegmenter, for_resume: bool) -> Description:
    fingerprint = segmenter.fingerprint() if for_resume else None
    return Description(segmenter.classes, segmenter.model.precision, fingerprint)


def _prepare(settings: Settings, threads: int) -> None:
    global _segmenter
    start_process()
    MMLogger.get_current_instance().setLevel(logging.WARNING)  # all would log the same model
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _segmenter = cache(partial(FileSegmenter, settings))


def _describe_there(for_resume: bool) -> Description:
    return _describe(_segmenter(), for_resume)


def _segment_there(file: File) -> tuple[Record | str, list[str]]:
    """Segment a file; returns its outcome and the warnings."""
    return _with_warnings(lambda: _segmenter()(*file))


def _open_there(job: MapJob) -> tuple[Any, list[str]]:
    """Open a map; returns its remaining blocks, notes and stretch, or the message of an error."""

    def work() -> tuple[list[int], list[str], tuple[float, float] | None]:
        notes: list[str] = []
        run = job.open()
        run.describe(notes.append)
        return run.todo(_segmenter().settings.resume), notes, run.raster.stretch

    return _with_warnings(lambda: _segmenter().explain(job.file[0], work))


def _run_there(job: MapJob) -> tuple[str | None, list[str]]:
    """Segment blocks of a map; returns the message of an error, or None."""
    return _with_warnings(
        lambda: _segmenter().explain(job.file[0], lambda: job.open().run(job.blocks))
    )


def _finish_there(job: MapJob) -> tuple[Record | str, list[str]]:
    """Write the results of a map; returns its record, or the message of an error."""
    segmenter = _segmenter()
    work = partial(segmenter.finish_map, job.open(), job.file[1])
    return _with_warnings(lambda: segmenter.explain(job.file[0], work))


def _with_warnings(work: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Do some work; returns its outcome and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always', UserWarning)
        outcome = work()
    return outcome, [str(each.message) for each in said if each.category is UserWarning]
