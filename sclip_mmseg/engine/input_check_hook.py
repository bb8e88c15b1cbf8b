"""Checks of the data while a run reads it."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.engine import SegVisualizationHook
from mmseg.models import SegTTAModel
from mmseg.registry import HOOKS

from ..datasets.checks import CheckedPipeline, check_classes, check_ignored
from ..datasets.images import check_sizes
from ..datasets.output_names import name_outputs
from ..datasets.parts import image_paths, parts_of
from ..models import CLIPTTAModel
from ..regions import RegionFiles
from ..utils.errors import InputError


@HOOKS.register_module()
class InputCheckHook(Hook):
    """Checks that model and dataset fit, and that errors of the loader name the file."""

    def before_test(self, runner: Runner) -> None:
        """Check the classes and wrap the dataset's pipeline, before workers start."""
        dataset = runner.test_dataloader.dataset
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        if isinstance(model, SegTTAModel):
            _check_merging(model)
            model = model.module
        model.require_weights()
        check_classes(dataset, model.num_classes, model.background)
        check_sizes(dataset, model.image_encoder.patch_size)
        metrics = runner.test_loop.evaluator.metrics
        ignored = {metric.ignore_index for metric in metrics if hasattr(metric, 'ignore_index')}
        check_ignored(dataset, ignored)
        hooks = [hook for hook in runner.hooks if isinstance(hook, SegVisualizationHook)]
        draws = any(hook.draw for hook in hooks)
        reads_again = (
            draws
            or model.image_encoder.sees_whole_image
            or model.regions is not None
            or model.postprocess is not None
        )
        for part in parts_of(dataset):
            if not isinstance(part.pipeline, CheckedPipeline):
                part.pipeline = CheckedPipeline(part, ignored, reads_again)
        images = image_paths(dataset)
        if isinstance(model.regions, RegionFiles):
            model.regions.check(images)
        names = name_outputs(images)
        for metric in metrics:
            if getattr(metric, 'output_dir', None):
                _give_names(metric, names)
        if draws:
            _give_names(runner.visualizer, names)


def _check_merging(model: SegTTAModel) -> None:
    """Check that a model of test-time augmentation applies the segmentor's decision rule."""
    own = model.module
    if isinstance(model, CLIPTTAModel) or (own.rule == own.rule.scoring and own.seg_logits):
        return
    raise InputError(
        f'tta_model {type(model).__name__} takes the best of class scores, and leaves out '
        "thresholds, area rule and background of model.test_cfg: set tta_model.type='CLIPTTAModel'"
    )


def _give_names(writer: object, names: dict[str, str]) -> None:
    """Set the names of the files that a metric or visualizer writes."""
    if hasattr(writer, 'output_names'):
        writer.output_names = names
    elif any(name != Path(image).stem for image, name in names.items()):
        raise InputError(
            f'{type(writer).__name__} names files after images, some of which have the same name '
            'in different folders: use ConfusionMetric and OverlayVisualizer, which tell them apart'
        )
