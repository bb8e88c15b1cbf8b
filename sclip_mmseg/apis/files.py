"""Own classes on files: what ``tools/demo.py`` does, in one call."""

import csv
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Union

import cv2
import numpy as np
from PIL import Image

from ..datasets.query_set import Queries
from ..models import CLIPSegmentor
from ..utils.errors import InputError, join_first
from ..utils.files import explain_full_disk, make_folder
from ..utils.progress import Progress
from ..visualization import draw_overlay
from ..zoo import DEFAULT_METHOD
from .media import (
    LABELS,
    OVERLAY,
    check_local,
    find_media,
    is_video,
    open_video,
    output_names,
    read_picture,
    video_writer,
    write_overlay,
)
from .segment import Segmentation, build_segmentor, segment, segment_array

_LISTED = 10  # failures in the error at the end
Paths = Union[str, Path, Sequence[Union[str, Path]]]


@dataclass
class FileResult:
    """What was found in a picture or video, and where it was written.

    Attributes:
        path: The picture or video.
        overlay: Picture or video with the classes painted over it.
        labels: Label map, PNG of class ids; of a video the folder of a label map per frame.
        pixels: Number of pixels of each class, of a video in all frames.
    """

    path: Path
    overlay: Path
    labels: Path
    pixels: Dict[str, int]

    @property
    def areas(self) -> Dict[str, float]:
        """Share that each class covers, 0 to 1, the largest first."""
        total = sum(self.pixels.values())
        shares = {name: count / total for name, count in self.pixels.items()}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def segment_files(
    inputs: Paths,
    classes: Queries,
    background: Union[bool, Sequence[str]] = False,
    method: str = DEFAULT_METHOD,
    out: Union[str, Path] = 'segmented',
    clip: Optional[str] = None,
    device: Optional[str] = None,
    cfg_options: Optional[dict] = None,
    on_result: Optional[Callable[[FileResult], None]] = None,
    regions: Union[str, dict, None] = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> List[FileResult]:
    """Segment pictures and videos into own classes and write what was found.

    For each input ``NAME_overlay.jpg`` and ``NAME_labels.png``, of a video ``NAME_overlay.mp4`` (of
    its size and frame rate, without sound) and ``NAME_labels/000000.png`` and so on, laid out below
    ``out`` as the inputs are; and ``areas.csv`` with the area of each class. Files that differ in
    their suffix alone keep it: ``x.jpg_overlay.jpg`` and ``x.mov_overlay.mp4``.

    Args:
        inputs: A picture, video or folder, or several.
        classes, background, method, clip, device, cfg_options, regions: See
            :func:`build_segmentor`. Class scores are not kept.
        out: Folder to write to; existing results of the same name are replaced.
        on_result: Called with each result as soon as it is written.
        on_progress: Called every few seconds with how far it is, and how fast, in words.

    Returns:
        A result per picture or video.

    Raises:
        InputError: If an argument cannot be used or ``out`` not be written to; or, after all others
            are written, if a file cannot; or if the disk of ``out`` is full.
        KeyboardInterrupt: On Ctrl-C, with the number of files that are done.

    Warns:
        UserWarning: If a video ends before the number of frames that it states.
    """
    inputs = [inputs] if isinstance(inputs, (str, Path)) else inputs
    for path in inputs:
        check_local(path)
    inputs = [Path(path) for path in inputs]
    files = find_media(inputs)
    names = output_names(files, inputs)
    for path in filter(is_video, files):
        open_video(path)
    make_folder(Path(out), 'name another folder (out, --out)')
    kinds = Counter('video' if is_video(path) else 'picture' for path in files)
    words = ', '.join(f'{count} {kind}{"s" * (count > 1)}' for kind, count in kinds.items())
    on_progress(f'{words}; reading weights')
    options = {'model.test_cfg.seg_logits': False, **(cfg_options or {})}
    model = build_segmentor(classes, background, method, clip, device, options, regions)
    results, errors = [], []
    progress = Progress(len(files), 'files')
    with (
        _stop_explained(Path(out), results, len(files)),
        open(Path(out) / 'areas.csv', 'w', newline='', encoding='utf-8') as file,
    ):
        table = csv.writer(file)
        table.writerow(['file', 'class', 'pixels', 'share'])
        for done, (path, name) in enumerate(zip(files, names)):
            if done and progress.is_due(done):
                on_progress(str(progress))
            stem = Path(out) / name
            stem.parent.mkdir(parents=True, exist_ok=True)
            try:
                if is_video(path):
                    result = _segment_video(model, path, stem, on_progress)
                else:
                    result = _segment_picture(model, path, stem)
            except InputError as error:
                errors.append(str(error))
                on_progress(f'skipped: {error}')
                continue
            for class_name, share in result.areas.items():
                table.writerow([path, class_name, result.pixels[class_name], f'{share:.6f}'])
            file.flush()
            results.append(result)
            if on_result:
                on_result(result)
    if errors:
        reasons = join_first(errors, _LISTED)
        raise InputError(f'{len(errors)} of {len(files)} not segmented: {reasons}')
    return results


@contextmanager
def _stop_explained(out: Path, results: List[FileResult], total: int) -> Iterator[None]:
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


def _segment_picture(model: CLIPSegmentor, path: Path, stem: Path) -> FileResult:
    image = read_picture(path)
    result = segment_array(model, image, str(path))
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    drawn = draw_overlay(image, result.labels, result.class_names, result.palette)
    overlay = write_overlay(stem, drawn)
    labels = Path(f'{stem}{LABELS}.png')
    write_labels(result, labels)
    return FileResult(path, overlay, labels, result.pixels)


def _segment_video(
    model: CLIPSegmentor, path: Path, stem: Path, on_progress: Callable[[str], None]
) -> FileResult:
    video = open_video(path)
    overlay, labels = Path(f'{stem}{OVERLAY}.mp4'), Path(f'{stem}{LABELS}')
    labels.mkdir(exist_ok=True)
    totals = dict.fromkeys(model.dataset_meta['classes'], 0)
    frame, count = video.read(), 0
    progress = Progress(video.frame_cnt, 'frames')
    if frame is None:
        raise InputError(f'{path} has no frame that can be read')
    with video_writer(overlay, video.fps, frame.shape[:2]) as writer:
        while frame is not None:
            result = _segment_frame(model, frame, path)
            drawn = draw_overlay(
                frame[..., ::-1], result.labels, result.class_names, result.palette, inside=True
            )
            writer.write(np.ascontiguousarray(drawn[..., ::-1]))
            write_labels(result, labels / f'{count:06d}.png')
            for name, pixels in result.pixels.items():
                totals[name] += pixels
            frame, count = video.read(), count + 1
            if progress.is_due(count):
                on_progress(f'{path}: {progress}')
    if count < video.frame_cnt:
        warnings.warn(f'{path} ends after {count} of {video.frame_cnt} frames', stacklevel=3)
    return FileResult(path, overlay, labels, totals)


def _segment_frame(model: CLIPSegmentor, image: np.ndarray, path: Path) -> Segmentation:
    try:
        return segment(model, image)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error


def write_labels(result: Segmentation, path: Path) -> None:
    """Write the class of each pixel as a PNG of one channel, of 8 bits, or 16 for many classes."""
    dtype = np.uint8 if len(result.class_names) <= 256 else np.uint16
    Image.fromarray(result.labels.astype(dtype)).save(path)
