"""The processes of a run: this one alone, or several, which read a model each."""

import logging
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePath

import cv2
import torch
from mmengine.logging import MMLogger, print_log

from ..engine.loader_workers import count_cores
from ..evaluation.fingerprint import Fingerprint
from ..utils.processes import map_unordered, start_process
from ..zoo import TOY, is_toy
from .one_file import FileSegmenter, Settings
from .precision import Choice
from .writers import ClassInfo, Record

#: A picture or video, and what the names of its results begin with.
File = tuple[Path, PurePath]
#: Files in the order in which they are done: their records, or why they are skipped.
Outcomes = Iterator[tuple[File, Record | str]]
_segmenter: Callable[[], FileSegmenter]  # of a process that was started for it


@dataclass(frozen=True)
class Description:
    """What a run knows of its model.

    Attributes:
        classes: K classes.
        precision: Of the image encoder, and why.
        fingerprint: What the results depend on; None where nothing is to be resumed.
    """

    classes: Sequence[ClassInfo]
    precision: Choice
    fingerprint: Fingerprint | None


class OneProcess:
    """Segments in this process; arguments as :class:`.one_file.FileSegmenter`."""

    def __init__(self, settings: Settings, on_progress: Callable[[str], None]):
        self.segment, self.on_progress = FileSegmenter(settings), on_progress

    def describe(self, for_resume: bool) -> Description:
        """Describe the model."""
        return _describe(self.segment, for_resume)

    def run(self, files: Sequence[File]) -> Outcomes:
        """Segment files."""
        return ((file, self.segment(*file, self.on_progress)) for file in files)


class SeveralProcesses:
    """Segments in several processes, among which the cores are divided.

    They are started anew, not forked: neither PyTorch's threads nor CUDA survive a fork.
    """

    def __init__(self, settings: Settings, count: int):
        if is_toy(settings.build.get('clip')):
            print_log(TOY, 'current')
        threads = max(count_cores() // count, 1)
        context = multiprocessing.get_context('spawn')
        self._pool = ProcessPoolExecutor(count, context, _prepare, (settings, threads))
        self._ahead = 2 * count

    def describe(self, for_resume: bool) -> Description:
        """Describe the model, as one of the processes has it."""
        [(_, about)] = map_unordered(self._pool, _describe_there, [for_resume], 1)
        return about

    def run(self, files: Sequence[File]) -> Outcomes:
        """Segment files."""
        with self._pool:
            for file, (outcome, said) in map_unordered(
                self._pool, _segment_there, files, self._ahead
            ):
                for message in said:
                    warnings.warn(message, stacklevel=2)
                yield file, outcome


def _describe(segmenter: FileSegmenter, for_resume: bool) -> Description:
    fingerprint = segmenter.fingerprint() if for_resume else None
    return Description(segmenter.classes, segmenter.model.precision, fingerprint)


def _prepare(settings: Settings, threads: int) -> None:
    global _segmenter
    start_process()
    MMLogger.get_current_instance().setLevel(logging.WARNING)  # what all would say of one model
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    _segmenter = cache(partial(FileSegmenter, settings))


def _describe_there(for_resume: bool) -> Description:
    return _describe(_segmenter(), for_resume)


def _segment_there(file: File) -> tuple[Record | str, list[str]]:
    """Segment a file; its outcome, and what is warned of."""
    segment = _segmenter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always', UserWarning)
        outcome = segment(*file)
    return outcome, [str(each.message) for each in said if each.category is UserWarning]
