"""One file of a run: a picture or video is segmented, and its results are written."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from ..evaluation.fingerprint import Fingerprint, describe_settings
from ..models import CLIPSegmentor
from ..utils.errors import InputError
from ..utils.files import explain_full_disk
from ..utils.progress import Progress
from ..version import __version__
from .inputs import LABELS, OVERLAY, is_video
from .media import open_video, read_frames, read_picture, video_writer
from .segment import Segmentation, build_segmentor, classes_of, segment_array
from .writers import Item, Record, Writer, build_writers, write_all, write_labels
from .writers.build import ALWAYS, Formats, start_record
from .writers.overlay import OverlayWriter


@dataclass(frozen=True)
class Settings:
    """How files are segmented, by what can be sent to another process.

    Attributes:
        out: Folder of all results.
        build: Arguments of :func:`.segment.build_segmentor`.
        formats, format_options: Of :func:`.writers.build_writers`.
    """

    out: Path
    build: Mapping[str, Any]
    formats: Formats
    format_options: Mapping[str, Any] | None = None


class FileSegmenter:
    """Segments files with one model, and writes what was found.

    Args:
        settings: How.

    Raises:
        InputError: If a setting cannot be used.
    """

    def __init__(self, settings: Settings):
        self.out = settings.out
        self.writers = build_writers(settings.formats, settings.format_options)
        needs_scores = any(writer.needs_scores for writer in self.writers.values())
        options = {
            'model.test_cfg.seg_logits': needs_scores,
            **(settings.build.get('cfg_options') or {}),
        }
        self.model = build_segmentor(**{**settings.build, 'cfg_options': options})
        self.classes = classes_of(self.model)
        for writer in self.writers.values():
            writer.check(self.classes)

    def fingerprint(self) -> Fingerprint:
        """What the results depend on beside the files."""
        cfg = self.model.cfg
        return describe_settings(
            model=cfg.model,
            pipeline=cfg.test_pipeline,
            made_regions=cfg.model.get('region_masks'),
            load_from=cfg.get('load_from'),
            classes={str(each.id): each.name for each in self.classes},
            palette=[each.color for each in self.classes],
            formats=sorted(self.writers),
            written={name: vars(writer) for name, writer in self.writers.items()},
            sclip_mmseg=__version__,
        )

    def __call__(
        self, path: Path, name: PurePath, on_progress: Callable[[str], None] = lambda text: None
    ) -> Record | str:
        """Segment a file.

        Args:
            path: The picture or video.
            name: What the names of its results begin with, below the output folder.
            on_progress: See :func:`.files.segment_files`.

        Returns:
            Its record, or why it is skipped.

        Raises:
            OSError: If the disk is full.
        """
        try:
            if is_video(path):
                return _segment_video(self.model, path, name, self.out, self.writers, on_progress)
            image = read_picture(path)
            segmentation = segment_array(self.model, image, str(path))
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            return write_all(self.writers, Item(path, name, self.out, image, segmentation))
        except InputError as error:
            return str(error)
        except MemoryError:
            return f'{path} needs more memory than there is: make it smaller'
        except OSError as error:
            if explain_full_disk(error, [self.out]):
                raise
            return f'the results of {path} cannot be written ({error})'


def _segment_video(
    model: CLIPSegmentor,
    path: Path,
    name: PurePath,
    out: Path,
    writers: Mapping[str, Writer],
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
    record.files = list(record.data.values())
    record.data[ALWAYS] = None
    return record


def _segment_frame(model: CLIPSegmentor, image: np.ndarray, path: Path) -> Segmentation:
    try:
        return segment_array(model, image)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
