"""The visualizer behind ``--show-dir`` and mmseg's own tools."""

import os.path as osp
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.utils import manager
from mmengine.visualization import LocalVisBackend
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from ..datasets.palette import distinct_palette
from ..utils.errors import InputError
from .drawing import draw_comparison

PALETTES = 'distinct', 'dataset'


@VISUALIZERS.register_module()
class OverlayVisualizer(SegLocalVisualizer):
    """mmseg's visualizer, with the drawings of this package.

    Args:
        palette: ``'distinct'`` for colours that are easy to tell apart; or ``'dataset'`` for those
            of the dataset, where several benchmarks give one colour to two classes.
        name, *args, **kwargs: See :class:`mmseg.visualization.SegLocalVisualizer`.

    Raises:
        InputError: If ``palette`` has another value.

    Attributes:
        output_names: Path of an image → its name, without suffix, in the names of output files.
    """

    output_names: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, name: str = 'visualizer', *args: Any, palette: str = PALETTES[0], **kwargs: Any
    ):
        super().__init__(name, *args, **kwargs)
        if palette not in PALETTES:
            raise InputError(f'visualizer.palette={palette!r}: use one of {", ".join(PALETTES)}')
        self.palette = palette

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> 'OverlayVisualizer':
        """Get or build the instance with a name.

        If building fails, mmengine keeps the lock of all its named objects, and other threads would
        wait forever; here it is released.
        """
        try:
            return super().get_instance(name, **kwargs)
        except BaseException:
            manager._release_lock()
            raise

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        with_labels: bool = True,
    ) -> None:
        """Draw the ground truth on the left and the prediction on the right, with one legend.

        Args:
            name: Title of the window, or name of the image in the backends.
            image: RGB, uint8 ``[H, W, 3]``.
            data_sample: Sample with ``gt_sem_seg`` and ``pred_sem_seg``, or one of them.
            draw_gt, draw_pred: Whether to draw the ground truth and the prediction, if available.
            show: Whether to show the drawing in a window.
            wait_time: Seconds for which it is shown; 0 until a key is pressed.
            out_file: File to write; None to pass the drawing to the backends.
            step: Step of the image in the backends.
            with_labels: Whether to write class names on the areas of the classes.
        """
        image_path = '' if data_sample is None else data_sample.get('img_path', '')
        if image_path in self.output_names:
            base = osp.basename(image_path)
            name = name.removesuffix(base) + self.output_names[image_path] + osp.splitext(base)[1]
        maps = {}
        for title, key, wanted in (
            ('truth', 'gt_sem_seg', draw_gt),
            ('prediction', 'pred_sem_seg', draw_pred),
        ):
            if wanted and data_sample is not None and key in data_sample:
                maps[title] = np.asarray(data_sample.get(key).cpu().data).squeeze(0)
        meta, drawn = self.dataset_meta, image
        if maps:
            names = meta['classes']
            own = self.palette == 'dataset'
            palette = meta['palette'] if own else distinct_palette(names)
            drawn = draw_comparison(image, maps, names, palette, self.alpha, with_labels)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, drawn, step)
        else:
            mmcv.imwrite(mmcv.rgb2bgr(drawn), out_file)

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Pass an image to the backends; for arguments see :meth:`add_datasample`.

        mmengine's backend of local files ignores failed writes, so its file is written here.

        Raises:
            InputError: If there is no permission to write the file.
            OSError: If the file cannot be written for another reason, such as a full disk.
        """
        for backend in self._vis_backends.values():
            if isinstance(backend, LocalVisBackend):
                path = osp.join(backend.experiment._img_save_dir, f'{name}_{step}.png')
                try:
                    mmcv.imwrite(mmcv.rgb2bgr(image), path)
                except PermissionError as error:
                    raise InputError(
                        f'cannot write {path} ({error.strerror}): name another folder by --show-dir'
                    ) from error
            else:
                backend.add_image(name, image, step)
