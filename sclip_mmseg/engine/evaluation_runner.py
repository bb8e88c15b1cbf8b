"""A runner with short terminal output."""

import logging
import os
import os.path as osp
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from ..config import named_weights
from ..utils.stderr import redirect_stderr

# Messages of mmengine about every metric of mmseg, and about every model.
_IRRELEVANT = 'The prefix is not set in metric class', 'Distributed training is not used'


class _CachedTextConfig(Config):
    """A config that formats its text once; mmengine reads ``pretty_text`` four times."""

    @cached_property
    def pretty_text(self) -> str:
        """See :class:`mmengine.config.Config`."""
        return super().pretty_text


@RUNNERS.register_module()
class EvaluationRunner(Runner):
    """mmengine's runner, which writes environment, config and hooks to the log file only.

    The terminal shows the config, weights, device and path of the log instead.
    """

    #: Whether the terminal shows only the progress.
    quiet = False
    _test_dataloader: dict

    def __init__(self, *args: Any, cfg: Config | None = None, **kwargs: Any):
        if type(cfg) is Config:
            plain, cfg = cfg, _CachedTextConfig()
            cfg.__setstate__(plain.__getstate__())
        super().__init__(*args, cfg=cfg, **kwargs)

    def use_dataset(self, dataset: BaseDataset) -> None:
        """Test on a dataset that is already built, instead of building the config's again."""
        self._test_dataloader = dict(self._test_dataloader, dataset=dataset)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """See :class:`mmengine.runner.Runner`."""
        logger = super().build_logger(*args, **kwargs)
        self._terminal_filter = _TerminalFilter()
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                # mmengine creates the handler.
                handler.handleError = WarnOnce(handler.baseFilename)  # type: ignore[method-assign]
            elif self.quiet:
                handler.addFilter(lambda record: 'eta: ' in record.getMessage())
                handler.setFormatter(logging.Formatter('  %(message)s'))
            else:
                handler.addFilter(self._terminal_filter)
        for line in self._describe():
            logger.info(line)
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        # It asks the compiler for its version; where there is none, the shell says so.
        with open(os.devnull, 'wb') as nothing, redirect_stderr(nothing):
            super()._log_env(env_cfg)

    def test(self) -> dict:
        """See :class:`mmengine.runner.Runner`."""
        self._terminal_filter.starting = False
        return super().test()

    def _describe(self) -> Iterator[str]:
        encoder = self.cfg.model.get('module', self.cfg.model).get('image_encoder', {})
        yield f'Config: {self.cfg.filename}'
        weights = str(self.cfg.get('load_from') or named_weights(encoder))
        yield f'Weights: {osp.normpath(weights) if osp.exists(weights) else weights}'
        device, world = get_device(), get_world_size()
        name = torch.cuda.get_device_name() if device == 'cuda' else device
        processes = f', {world} processes' if world > 1 else ''
        yield f'Device: {name}{processes}, precision {encoder.get("precision", "fp32")}'
        yield f'Log: {self.log_dir}'


class QuietRunner(EvaluationRunner):
    """A runner that shows only the progress on the terminal."""

    quiet = True


class WarnOnce:
    """Warn once that a log cannot be written, instead of a traceback per message.

    Args:
        path: Path of the log.
    """

    def __init__(self, path: str):
        self.path, self.has_warned = path, False

    def __call__(self, record: logging.LogRecord) -> None:
        """Handle the error of a record that could not be written."""
        if not self.has_warned:
            print(f'warning: {self.path} is not written: {sys.exc_info()[1]}', file=sys.stderr)
        self.has_warned = True


class _TerminalFilter(logging.Filter):
    """Hides long messages at the start, and those that users cannot act on."""

    starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a message."""
        text = record.getMessage()
        return not text.startswith(_IRRELEVANT) and not (self.starting and '\n' in text)
