"""Overlays of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.runner import Runner
from mmseg.engine import SegVisualizationHook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from ..rasters.reading import read_pixels


@HOOKS.register_module()
class OverlayHook(SegVisualizationHook):
    """mmseg's hook that draws overlays, which reads maps as the dataset does."""

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[SegDataSample],
        mode: str = 'val',
    ) -> None:
        maps = [output for output in outputs if output.get('map') is not None]
        others = [output for output in outputs if output.get('map') is None]
        super()._after_iter(runner, batch_idx, data_batch, others, mode)
        if self.draw and self.every_n_inner_iters(batch_idx, self.interval):
            for output in maps:
                self._visualizer.add_datasample(
                    f'{mode}_{Path(output.img_path).name}',
                    read_pixels(output.img_path, output.map),
                    data_sample=output,
                    show=self.show,
                    wait_time=self.wait_time,
                    step=runner.iter,
                )
