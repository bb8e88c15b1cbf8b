"""Segment files and folders: what ``sclip segment`` does."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec

from ..datasets.query_set import Queries
from ..old_names import keep_old_names
from ..rasters.reading import Bands, Stretch, parse_bands, parse_stretch
from ..utils.errors import InputError, join_first
from ..utils.files import explain_full_disk, find_file, make_folder
from ..utils.progress import Progress
from ..utils.words import counted
from ..zoo import warn_of_toy
from .inputs import (
    check_local,
    check_targets,
    describe_left_out,
    find_media,
    is_video,
    output_names,
)
from .media import check_image, open_video
from .one_file import Settings
from .run_records import RunRecords
from .segment import find_device
from .shares import find_share, lock_folder, run_lock
from .sizes import WorkingSize
from .workers import OneProcess, SeveralProcesses
from .writers import ClassInfo, Record, build_writers, check_size, finish_all
from .writers.build import ALWAYS, DEFAULT, Formats

keep_old_names(__name__, write_labels='apis.writers.labels.write_labels')

_LISTED = 10  # failures in the error at the end
Paths = str | Path | Sequence[str | Path]
P = ParamSpec('P')


@dataclass
class FileResult:
    """The result of an image or video, and the files that it was written to.

    Attributes:
        path: The image or video.
        overlay: Image or video with the classes painted over it; None if not requested.
        labels: Label map, a PNG of class ids; for a video the folder with a label map per frame;
            None if not requested.
        pixels: Number of pixels of each class; for a video the sum over all frames.
    """

    path: Path
    overlay: Path | None
    labels: Path | None
    pixels: dict[str, int]

    @property
    def areas(self) -> dict[str, float]:
        """Share of the pixels of each class, 0 to 1, the largest first."""
        total = sum(self.pixels.values()) or 1
        shares = {name: count / total for name, count in self.pixels.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def segment_folder(
    inputs: Paths,
    classes: Queries,
    background: bool | Sequence[str] = False,
    method: str | None = None,
    out: str | Path = 'segmented',
    clip: str | None = None,
    device: str | None = None,
    cfg_options: dict | None = None,
    on_result: Callable[[FileResult], None] | None = None,
    regions: str | dict | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
    formats: Formats = DEFAULT,
    format_options: Mapping[str, Any] | None = None,
    precision: str | None = None,
    processes: int = 1,
    resume: bool = False,
    share: str | None = None,
    size: WorkingSize | None = None,
    bands: Bands | None = None,
    stretch: Stretch | None = None,
) -> Iterator[FileResult]:
    """Segment images and videos into your own classes, and write the results one by one.

    The defaults are ``NAME_overlay.jpg`` and ``NAME_labels.png`` for each image; for a video
    ``NAME_overlay.mp4`` (with its size and frame rate, without sound) and
    ``NAME_labels/000000.png`` and so on; ``classes.json`` with the names of the ids; and always
    ``areas.csv`` with the area of each class. Below ``out`` they have the layout of the inputs.
    Files that differ only in their suffix keep it: ``x.jpg_overlay.jpg`` and
    ``x.mov_overlay.mp4``.

    Args:
        inputs: An image, video or folder, or several of them.
        classes, background, method, clip, device, cfg_options, regions, precision, size: See
            :func:`.segment.build_segmentor`. Class scores are not kept.
        out: Folder to write to; existing results of the same name are replaced.
        on_result: Called with each result as soon as it is written.
        on_progress: Called with messages, such as progress and speed every few seconds.
        formats, format_options: Output formats, see :func:`.writers.build_writers`. For videos
            only ``'overlay'`` and ``'labels'`` are written.
        processes: Number of processes that segment, each with its own model; on the CPU they
            divide the cores.
        resume: Whether to skip files that an earlier run into ``out`` finished with the same
            settings, and that have not changed since.
        share: Part of the files, as in ``'2/8'``, for one of several processes or machines that
            write to one folder; implies ``resume``. None for all files.
        bands, stretch: How maps are read, see :class:`..rasters.reading.Raster`.

    Returns:
        An iterator over the results of the images and videos segmented by this run, each as soon
        as it is written; with several processes in order of completion. ``areas.csv`` and other
        files of the whole run include the results of earlier runs and other shares.

    Raises:
        InputError: At once, if an argument is invalid, if ``out`` cannot be written to, or if a
            result would overwrite an input; later, if the disk of ``out`` is full; or, after the
            last result, if files were skipped because they cannot be used.
        KeyboardInterrupt: On Ctrl-C, with the number of files that are done.

    Warns:
        UserWarning: If a video ends before its stated number of frames; if the toy CLIP is given
            other images than its own drawings; if ``bands`` or ``stretch`` is given for images
            that are not maps; or as :func:`.inputs.find_media` and :func:`.media.read_image` do.
    """
    part = find_share(share)
    if processes < 1:
        raise InputError(f'processes={processes} (--processes) must be 1 or more')
    writers = build_writers(formats, format_options)
    find_device(device)
    if stretch is not None:
        parse_stretch(stretch)
    settings = Settings(
        *(Path(out), {}, formats, format_options),
        resume=resume or part.count > 1,
        bands=None if bands is None else parse_bands(bands),
        stretch=stretch,
    )
    given = inputs if isinstance(inputs, Iterable) and not isinstance(inputs, str) else [inputs]
    for path in given:
        check_local(path)
    paths = [Path(path) for path in given]
    left_out: Counter[str] = Counter()
    files = find_media(paths, left_out)
    names = output_names(files, paths)
    listed = find_file(classes) if isinstance(classes, (str, Path)) else None
    targets = [Path(out) / name for name in names]
    targets += (Path(out) / name for writer in writers.values() for name in writer.run_files)
    check_targets(targets, [*files, *([listed] if listed else [])])
    make_folder(Path(out), 'name another folder (out, --out)')
    errors: dict[Path, str] = {}

    def skip(path: Path, reason: str) -> None:
        errors[path] = reason.replace('\n', '\\n')  # a name may contain one
        on_progress(f'skipped: {errors[path]}')

    mine = part.of(list(zip(files, names)))
    plain: list[str] = []  # images that are not read as maps
    for path, _ in mine:
        try:
            if is_video(path):
                open_video(path)
            elif settings.is_map(path):
                with settings.open_map(path) as raster:
                    check_size(writers, path, raster.grid)
            else:
                check_image(path)
                plain.append(str(path))
        except InputError as error:
            skip(path, str(error))
    usable = [pair for pair in mine if pair[0] not in errors]
    if not usable:
        _raise_errors(errors, len(mine))
    if plain and not (bands is None and stretch is None):
        warnings.warn(
            'bands and stretch (--bands, --stretch) only apply to maps and TIFF files, not to '
            f'{join_first(plain)}',
            stacklevel=2,
        )
    warn_of_toy(clip, files)
    kinds = Counter('video' if is_video(path) else 'image' for path, _ in usable)
    words = ', '.join(f'{count} {kind}{"s" * (count > 1)}' for kind, count in kinds.items())
    images_only = [name for name in writers if name not in (*DEFAULT, ALWAYS)]
    if kinds['video'] and images_only:
        on_progress(f'for videos, {", ".join(images_only)} are not written')
    on_progress(f'{words}; reading weights')
    build = dict(
        classes=classes,
        background=background,
        method=method,
        clip=clip,
        device=device,
        cfg_options=cfg_options,
        regions=regions,
        precision=precision,
        size=size,
    )
    settings = replace(settings, build=build)
    done = 0

    def run() -> Iterator[FileResult]:
        nonlocal done
        said = _report_done(settings.out, lambda: done, len(mine))
        with lock_folder(settings.out, part), said:
            has_maps = any(settings.is_map(path) for path, _ in usable)
            count = processes if has_maps else min(processes, len(usable))
            workers = (
                SeveralProcesses(settings, count, on_progress)
                if count > 1
                else OneProcess(settings, on_progress)
            )
            about = workers.describe(len(files) > 1 or has_maps or resume or part.count > 1)
            if about.precision[0] != 'fp32':
                on_progress('precision {}: {}'.format(*about.precision))
            records = RunRecords(settings.out, about.fingerprint)
            if resume or part.count > 1:
                for message in records.read():
                    warnings.warn(message, stacklevel=2)
            elif records.start_over():
                on_progress('starting from the beginning; --resume would continue the earlier run')
            todo = [each for each in usable if not records.is_done(*each)]
            done = before = len(usable) - len(todo)
            if before:
                on_progress(f'already done: {counted(before, "file")}')
            progress = Progress(len(todo), 'files')
            try:
                for (path, name), outcome in workers.run(todo):
                    if isinstance(outcome, str):
                        skip(path, outcome)
                        continue
                    records.add(path, name, outcome)
                    result = _result_of(path, outcome, about.classes, settings.out)
                    done += 1
                    if not any(outcome.pixels):
                        on_progress(f'{path} has no data: nothing is classified')
                    if on_result:
                        on_result(result)
                    if progress.is_due(done - before) and done < len(usable):
                        on_progress(str(progress))
                    yield result
            finally:
                with ExitStack() as stack:
                    if part.count > 1:
                        with suppress(OSError, NotImplementedError):
                            stack.enter_context(run_lock(settings.out))
                        records.read()
                    finish_all(writers, records.in_order(names), about.classes, settings.out)
        if left_out:
            on_progress(describe_left_out(left_out))
        _raise_errors(errors, len(mine))

    return run()


def _as_list(stream: Callable[P, Iterator[FileResult]]) -> Callable[P, list[FileResult]]:
    @wraps(stream)
    def segment_files(*args: P.args, **kwargs: P.kwargs) -> list[FileResult]:
        return list(stream(*args, **kwargs))

    segment_files.__name__ = segment_files.__qualname__ = 'segment_files'
    shown = signature(stream).replace(return_annotation=list[FileResult])
    segment_files.__signature__ = shown  # type: ignore[attr-defined]
    return segment_files


#: The same as :func:`segment_folder`, with all results in a list.
segment_files = _as_list(segment_folder)


def _result_of(path: Path, record: Record, classes: Sequence[ClassInfo], out: Path) -> FileResult:
    overlay, labels = (
        Path(out, record.data[kind]) if kind in record.data else None for kind in DEFAULT
    )
    found = {each.name: pixels for each, pixels in zip(classes, record.pixels)}
    return FileResult(path, overlay, labels, found)


def _raise_errors(errors: dict[Path, str], total: int) -> None:
    """Raise an error that lists the skipped files.

    Raises:
        InputError: If files were skipped.
    """
    if errors:
        reasons = join_first(list(errors.values()), _LISTED)
        raise InputError(f'{len(errors)} of {total} not segmented: {reasons}')


@contextmanager
def _report_done(out: Path, count: Callable[[], int], total: int) -> Iterator[None]:
    """Add the number of finished files to the message of an interruption or a full disk."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        done = f'{count()} of {total} files are segmented, in {out}'
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(done) from error
        if place := explain_full_disk(error, [out]):
            raise InputError(f'{place}; free disk space there. {done}') from error
        raise
