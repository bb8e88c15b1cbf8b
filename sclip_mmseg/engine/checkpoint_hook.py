"""What ``load_from`` means, which mmseg's own ``tools/test.py`` sets to its CHECKPOINT."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS

from ..config import set_checkpoint
from ..towers import read_tensors
from ..utils.files import find_file


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Takes ``load_from`` for the checkpoint that ``tools/test.py`` of this package takes.

    mmengine would look for the whole model's weights in it, find none in a CLIP, and go on with the
    CLIP that the config names. A file that does hold the whole model is left to mmengine.
    """

    def before_run(self, runner) -> None:
        """Build the model anew where it is to have another checkpoint.

        Raises:
            InputError: If the checkpoint cannot be used.
        """
        checkpoint = runner._load_from
        if checkpoint is None or _holds(checkpoint, runner.model):
            return
        runner._load_from = None
        old = runner.cfg.model.to_dict()
        set_checkpoint(runner.cfg, checkpoint)
        if runner.cfg.model.to_dict() != old:
            model = runner.build_model(runner.cfg.model)
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)


def _holds(checkpoint: str, model) -> bool:
    """Whether a file has all the weights of a model."""
    path = find_file(checkpoint)
    if path is None:
        return False
    if is_model_wrapper(model):
        model = model.module
    return model.state_dict().keys() <= read_tensors(path).keys()
