"""One file of a run: segment an image, video or map, and write its results."""

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from ..evaluation.fingerprint import Fingerprint, describe_settings
from ..models import CLIPSegmentor
from ..models.progress import watch_progress
from ..rasters.detecting import TIFF, is_map
from ..rasters.reading import Bands, Raster, Stretch, open_raster
from ..utils.errors import HalfOverflow, InputError
from ..utils.files import explain_full_disk
from ..utils.progress import Progress
from ..version import __version__
from .inputs import LABELS, OVERLAY, is_video
from .maps import MapRun, Say, map_folder, remove_blocks
from .media import count_pixels, open_video, read_frames, read_image, video_writer
from .precision import in_float32
from .segment import build_segmentor, classes_of, segment_array
from .segmentation import Segmentation
from .shrinking import progress_reporter, warn_if_shrunk
from .writers import Item, Record, Writer, build_writers, write_all, write_labels
from .writers.base import MapItem
from .writers.build import ALWAYS, Formats, start_record
from .writers.overlay import OverlayWriter


@dataclass(frozen=True)
class Settings:
    """Settings of a run, which can be pickled for other processes.

    Attributes:
        out: Folder of all results.
        build: Arguments of :func:`.segment.build_segmentor`.
        formats, format_options: See :func:`.writers.build_writers`.
        resume: Whether to keep blocks of maps that an earlier run finished.
        bands, stretch: How maps are read, see :class:`..rasters.reading.Raster`.
    """

    out: Path
    build: Mapping[str, Any]
    formats: Formats
    format_options: Mapping[str, Any] | None = None
    resume: bool = False
    bands: Bands | None = None
    stretch: Stretch | None = None

    def is_map(self, path: Path) -> bool:
        """Whether a file is segmented as a map.

        Raises:
            InputError: If it is a map, and a package that reads maps is missing.
        """
        asked = self.bands is not None or self.stretch is not None
        is_tiff = path.suffix.lower() in TIFF
        return is_map(path, is_tiff and (asked or count_pixels(path) == math.inf))

    def open_map(self, path: Path, stretch: Stretch | None = None) -> Raster:
        """Open a map, by default with the stretch of the settings; raises as :class:`Raster`."""
        return open_raster(path, self.bands, stretch or self.stretch)


class FileSegmenter:
    """Segments files with one model, and writes the results.

    Args:
        settings: Settings of the run.

    Raises:
        InputError: If a setting is invalid.
    """

    def __init__(self, settings: Settings):
        self.settings, self.out = settings, settings.out
        self.writers = build_writers(settings.formats, settings.format_options)
        self.needs_scores = any(writer.needs_scores for writer in self.writers.values())
        options = {
            'model.test_cfg.seg_logits': self.needs_scores,
            **(settings.build.get('cfg_options') or {}),
        }
        self.model = build_segmentor(**{**settings.build, 'cfg_options': options})
        self.classes = classes_of(self.model)
        for writer in self.writers.values():
            writer.check(self.classes)

    def fingerprint(self, model: CLIPSegmentor | None = None) -> Fingerprint:
        """All settings that the results depend on, except the files.

        Args:
            model: The segmentor; None for the one that ``settings`` describe.
        """
        model = model or self.model
        cfg = model.cfg
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
            maps=dict(bands=self.settings.bands, stretch=self.settings.stretch),
        )

    def map_run(
        self, path: Path, name: PurePath, in_full: bool = False, stretch: Stretch | None = None
    ) -> MapRun:
        """Prepare the segmentation of a map, block by block.

        Args:
            path, name: See :meth:`__call__`.
            in_full: Whether to use float32, for maps that overflow float16.
            stretch: Stretch of the map's values, if it is known.

        Raises:
            InputError: If the map cannot be read.
        """
        model = self.model
        if in_full:
            arguments = {**model.arguments, 'precision': 'fp32'}
            model = in_float32(model, partial(build_segmentor, **arguments, share=model))
        folder = map_folder(self.out, name, model.precision.precision)
        raster = self.settings.open_map(path, stretch)
        return MapRun(raster, model, folder, self.fingerprint(model), self.needs_scores)

    def finish_map(self, run: MapRun, name: PurePath) -> Record:
        """Write the results of a map, once all its blocks are done."""
        path = Path(run.raster.path)
        item = MapItem(path, name, self.out, run.raster, run.result(), self.classes)
        record = write_all(self.writers, item)
        record.data['map'] = dict(bands=run.raster.bands, stretch=run.raster.stretch)
        remove_blocks(self.out, name)
        return record

    def _segment_map(self, path: Path, name: PurePath, on_progress: Say) -> Record:
        run = self.map_run(path, name)
        run.describe(on_progress)
        try:
            run.run(run.todo(self.settings.resume), on_progress)
        except HalfOverflow:
            run = self.map_run(path, name, in_full=True)
            run.run(run.todo(self.settings.resume), on_progress)
        return self.finish_map(run, name)

    def explain(self, path: Path, work: Callable[[], Any]) -> Any:
        """Do some work on a file.

        Args:
            path: The file, for messages.
            work: The work.

        Returns:
            The result of ``work``, or the message of a user error.

        Raises:
            OSError: If the disk is full.
            HalfOverflow: If features of a map do not fit into float16.
        """
        try:
            return work()
        except HalfOverflow:
            raise
        except InputError as error:
            return str(error)
        except MemoryError:
            return f'{path} needs more memory than is available: make it smaller'
        except OSError as error:
            if explain_full_disk(error, [self.out]):
                raise
            return f'the results of {path} cannot be written ({error})'

    def __call__(
        self, path: Path, name: PurePath, on_progress: Say = lambda text: None
    ) -> Record | str:
        """Segment a file.

        Args:
            path: The image, video or map.
            name: Beginning of the names of its results, relative to the output folder.
            on_progress: See :func:`.files.segment_files`.

        Returns:
            The record of the file, or the reason for skipping it.

        Raises:
            OSError: If the disk is full.
        """
        return self.explain(path, lambda: self._segment(path, name, on_progress))

    def _segment(self, path: Path, name: PurePath, on_progress: Say) -> Record:
        if is_video(path):
            return _segment_video(self.model, path, name, self.out, self.writers, on_progress)
        if self.settings.is_map(path):
            return self._segment_map(path, name, on_progress)
        image = read_image(path)
        progress = watch_progress(progress_reporter(str(path), on_progress))
        with warn_if_shrunk(self.model, image.shape[:2], str(path)), progress:
            segmentation = segment_array(self.model, image, str(path))
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return write_all(self.writers, Item(path, name, self.out, image, segmentation))


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
            if count > progress.total:  # the file may state a wrong number
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
