"""Checks of the data while a run reads it."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.models import SegTTAModel
from mmseg.registry import HOOKS

from ..datasets.checks import CheckedPipeline, check_classes, check_ignored


@HOOKS.register_module()
class InputCheckHook(Hook):
    """Checks that model and dataset fit, and lets the loader name the file that it fails on."""

    def before_test(self, runner) -> None:
        """Check the classes and wrap the dataset's pipeline, before workers start."""
        dataset = runner.test_dataloader.dataset
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        if isinstance(model, SegTTAModel):
            model = model.module
        check_classes(dataset, model.num_classes, model.background)
        metrics = runner.test_loop.evaluator.metrics
        ignored = {metric.ignore_index for metric in metrics if hasattr(metric, 'ignore_index')}
        check_ignored(dataset, ignored)
        if not isinstance(dataset.pipeline, CheckedPipeline):
            dataset.pipeline = CheckedPipeline(dataset, ignored)
