"""Own classes on files: what ``tools/demo.py`` does, in one call."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from ..datasets.query_set import Queries
from ..models import CLIPSegmentor
from ..utils.errors import InputError, join_first
from ..utils.files import explain_full_disk, find_file, make_folder
from ..utils.progress import Progress
from ..zoo import TOY_NOTICE, is_toy
from .inputs import (
    LABELS,
    OVERLAY,
    check_local,
    check_targets,
    find_media,
    is_video,
    output_names,
)
from .media import check_picture, open_video, read_frames, read_picture, video_writer
from .segment import Segmentation, build_segmentor, classes_of, find_device, segment_array
from .writers import Item, Record, Writer, build_writers, finish_all, write_all, write_labels
from .writers.build import ALWAYS, DEFAULT, Formats, start_record
from .writers.overlay import OverlayWriter

_LISTED = 10  # failures in the error at the end
Paths = str | Path | Sequence[str | Path]


@dataclass
class FileResult:
    """What was found in a picture or video, and where it was written.

    Attributes:
        path: The picture or video.
        overlay: Picture or video with the classes painted over it; None where it is not asked for.
        labels: Label map, PNG of class ids; of a video the folder of a label map per frame; None
            where it is not asked for.
        pixels: Number of pixels of each class, of a video in all frames.
    """

    path: Path
    overlay: Path | None
    labels: Path | None
    pixels: dict[str, int]

    @property
    def areas(self) -> dict[str, float]:
        """Share that each class covers, 0 to 1, the largest first."""
        total = sum(self.pixels.values())
        shares = {name: count / total for name, count in self.pixels.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def segment_files(
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
) -> list[FileResult]:
    """Segment pictures and videos into own classes and write what was found.

    By default for each input ``NAME_overlay.jpg`` and ``NAME_labels.png``, of a video
    ``NAME_overlay.mp4`` (of its size and frame rate, without sound) and ``NAME_labels/000000.png``
    and so on, laid out below ``out`` as the inputs are; ``classes.json`` with the names of the ids;
    and always ``areas.csv`` with the area of each class. Files that differ in their suffix alone
    keep it: ``x.jpg_overlay.jpg`` and ``x.mov_overlay.mp4``.

    Args:
        inputs: A picture, video or folder, or several.
        classes, background, method, clip, device, cfg_options, regions, precision: See
            :func:`build_segmentor`. Class scores are not kept.
        out: Folder to write to; existing results of the same name are replaced.
        on_result: Called with each result as soon as it is written.
        on_progress: Called every few seconds with how far it is, and how fast, in words.
        formats, format_options: What to write, see :func:`.writers.build_writers`. Of videos only
            ``'overlay'`` and ``'labels'`` are written.

    Returns:
        A result per picture or video.

    Raises:
        InputError: If an argument cannot be used, ``out`` not be written to or would hold an input
            and its result in one file; if the disk of ``out`` is full; or, after all others are
            written, if files cannot be used, which are skipped.
        KeyboardInterrupt: On Ctrl-C, with the number of files that are done.

    Warns:
        UserWarning: If a video ends before the number of frames that it states; if the toy CLIP is
            to segment other pictures than those beside it; or as :func:`.inputs.find_media` and
            :func:`.media.read_picture` do.
    """
    writers = build_writers(formats, format_options)
    find_device(device)
    given = [inputs] if isinstance(inputs, (str, Path)) else inputs
    for path in given:
        check_local(path)
    paths = [Path(path) for path in given]
    files = find_media(paths)
    names = output_names(files, paths)
    listed = find_file(classes) if isinstance(classes, (str, Path)) else None
    targets = [Path(out) / name for name in names]
    targets += (Path(out) / name for writer in writers.values() for name in writer.run_files)
    check_targets(targets, [*files, *([listed] if listed else [])])
    make_folder(Path(out), 'name another folder (out, --out)')
    errors: dict[Path, str] = {}

    def skip(path: Path, reason: str) -> None:
        errors[path] = reason.replace('\n', '\\n')  # of a name: it stays one line
        on_progress(f'skipped: {errors[path]}')

    for path in files:
        try:
            open_video(path) if is_video(path) else check_picture(path)
        except InputError as error:
            skip(path, str(error))
    usable = [pair for pair in zip(files, names) if pair[0] not in errors]
    if not usable:
        _raise_errors(errors, files)
    if (
        clip is not None
        and is_toy(clip)
        and not all(map(partial(_is_below, Path(clip).parent), files))
    ):
        warnings.warn(
            f'{TOY_NOTICE}leave --clip (clip) out, or name another, such as ViT-B/16', stacklevel=2
        )
    kinds = Counter('video' if is_video(path) else 'picture' for path, _ in usable)
    words = ', '.join(f'{count} {kind}{"s" * (count > 1)}' for kind, count in kinds.items())
    left_out = [name for name in writers if name not in (*DEFAULT, ALWAYS)]
    if kinds['video'] and left_out:
        on_progress(f'of videos, {", ".join(left_out)} are not written')
    on_progress(f'{words}; reading weights')
    needs_scores = any(writer.needs_scores for writer in writers.values())
    options = {'model.test_cfg.seg_logits': needs_scores, **(cfg_options or {})}
    model = build_segmentor(
        *(classes, background, method, clip, device, options, regions), precision=precision
    )
    for writer in writers.values():
        writer.check(classes_of(model))
    on_progress('precision {}: {}'.format(*model.precision))
    results: list[FileResult] = []
    records: list[Record] = []
    progress = Progress(len(usable), 'files')
    with (
        _stop_explained(Path(out), results, len(files)),
        _finished(writers, records, model, Path(out)),
    ):
        for done, (path, name) in enumerate(usable):
            if done and progress.is_due(done):
                on_progress(str(progress))
            try:
                if is_video(path):
                    record = _segment_video(model, path, name, Path(out), writers, on_progress)
                else:
                    image = read_picture(path)
                    segmentation = segment_array(model, image, str(path))
                    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                    record = write_all(writers, Item(path, name, Path(out), image, segmentation))
            except InputError as error:
                skip(path, str(error))
                continue
            except MemoryError:
                skip(path, f'{path} needs more memory than there is: make it smaller')
                continue
            except OSError as error:
                if explain_full_disk(error, [out]):
                    raise
                skip(path, f'the results of {path} cannot be written ({error})')
                continue
            records.append(record)
            overlay, labels = (Path(out, record.data[k]) if k in writers else None for k in DEFAULT)
            found = dict(zip(model.dataset_meta['classes'], record.pixels))
            result = FileResult(path, overlay, labels, found)
            results.append(result)
            if on_result:
                on_result(result)
    _raise_errors(errors, files)
    return results


@contextmanager
def _finished(
    writers: dict[str, Writer], records: list[Record], model: CLIPSegmentor, out: Path
) -> Iterator[None]:
    """Write the files of a run at its end, of an interrupted one too."""
    try:
        yield
    finally:
        finish_all(writers, records, classes_of(model), out)


def _is_below(folder: Path, path: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _raise_errors(errors: dict[Path, str], files: Sequence[Path]) -> None:
    """Name the files that were skipped, out of all.

    Raises:
        InputError: If there are any.
    """
    if errors:
        reasons = join_first(list(errors.values()), _LISTED)
        raise InputError(f'{len(errors)} of {len(files)} not segmented: {reasons}')


@contextmanager
def _stop_explained(out: Path, results: list[FileResult], total: int) -> Iterator[None]:
    """Let an interruption and a full disk say how many files are done."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        done = f'{len(results)} of {total} files are segmented, in {out}'
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(done) from error
        if place := explain_full_disk(error, [out]):
            raise InputError(f'{place}; make room there. {done}') from error
        raise


def _segment_video(
    model: CLIPSegmentor,
    path: Path,
    name: PurePath,
    out: Path,
    writers: dict[str, Writer],
    on_progress: Callable[[str], None],
) -> Record:
    video = open_video(path)
    overlay, labels = out / f'{name}{OVERLAY}.mp4', out / f'{name}{LABELS}'
    frames = read_frames(video)
    first = next(frames, None)
    if first is None:
        raise InputError(f'{path} has no frame that can be read')
    size = first.shape[:2]
    totals = np.zeros(len(model.dataset_meta['classes']), np.int64)
    count, progress = 0, Progress(max(video.frame_cnt, 0), 'frames')
    overlay.parent.mkdir(parents=True, exist_ok=True)
    drawer, maps = writers.get('overlay'), 'labels' in writers
    if maps:
        labels.mkdir(exist_ok=True)
    with video_writer(overlay, video.fps, size) if drawer else nullcontext() as write:
        for frame in chain([first], frames):
            result = _segment_frame(model, frame, path)
            if isinstance(drawer, OverlayWriter) and write:
                write(drawer.draw(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), result, frame=True))
            if maps:
                write_labels(result, labels / f'{count:06d}.png')
            totals += result.counts
            count += 1
            if count > progress.total:  # which the file states, rightly or not
                progress.total = 0
            if progress.is_due(count):
                on_progress(f'{path}: {progress}')
    if count < video.frame_cnt:
        warnings.warn(f'{path} ends after {count} of {video.frame_cnt} frames', stacklevel=3)
    record = start_record(path, name, size, totals.tolist())
    made = {'overlay': overlay, 'labels': labels}
    record.data = {key: str(made[key].relative_to(out)) for key in made if key in writers}
    record.data[ALWAYS] = None
    return record


def _segment_frame(model: CLIPSegmentor, image: np.ndarray, path: Path) -> Segmentation:
    try:
        return segment_array(model, image)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
