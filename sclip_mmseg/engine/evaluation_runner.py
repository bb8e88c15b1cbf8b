"""A runner that is brief on the terminal."""

import logging
import os
import os.path as osp
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

# mmengine's remarks on every metric of mmseg, and on every model.
_NOTHING_TO_DO = 'The prefix is not set in metric class', 'Distributed training is not used'


class _FormattedOnce(Config):
    """A config whose text, which mmengine asks for four times, is formatted once."""

    @cached_property
    def pretty_text(self) -> str:
        """See :class:`mmengine.config.Config`."""
        return super().pretty_text


@RUNNERS.register_module()
class EvaluationRunner(Runner):
    """mmengine's runner. Environment, config and list of hooks are in the log file alone.

    The terminal shows what is evaluated, with what and where the log is, instead.
    """

    #: Whether the terminal shows progress alone.
    quiet = False
    _test_dataloader: dict

    def __init__(self, *args: Any, cfg: Config | None = None, **kwargs: Any):
        if type(cfg) is Config:
            plain, cfg = cfg, _FormattedOnce()
            cfg.__setstate__(plain.__getstate__())
        super().__init__(*args, cfg=cfg, **kwargs)

    def take_dataset(self, dataset: BaseDataset) -> None:
        """Test on a dataset that is built already, instead of building the config's again."""
        self._test_dataloader = dict(self._test_dataloader, dataset=dataset)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """See :class:`mmengine.runner.Runner`."""
        logger = super().build_logger(*args, **kwargs)
        self._brief = _Brief()
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                # mmengine makes the handler.
                handler.handleError = WarnOnce(handler.baseFilename)  # type: ignore[method-assign]
            elif self.quiet:
                handler.addFilter(lambda record: 'eta: ' in record.getMessage())
                handler.setFormatter(logging.Formatter('  %(message)s'))
            else:
                handler.addFilter(self._brief)
        for line in self._describe():
            logger.info(line)
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        # It asks the compiler for its version; where there is none, the shell says so.
        with _silent_programs():
            super()._log_env(env_cfg)

    def test(self) -> dict:
        """See :class:`mmengine.runner.Runner`."""
        self._brief.starting = False
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
    """A runner of which the terminal shows progress alone."""

    quiet = True


@contextmanager
def _silent_programs() -> Iterator[None]:
    """Discard what programs that are started meanwhile write to standard error."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, 'wb') as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


class WarnOnce:
    """Says in one line, instead of a traceback per message, that a log cannot be written.

    Args:
        path: The log's.
    """

    def __init__(self, path: str):
        self.path, self.has_warned = path, False

    def __call__(self, record: logging.LogRecord) -> None:
        """Handle the error of a record that is not written."""
        if not self.has_warned:
            print(f'warning: {self.path} is not written: {sys.exc_info()[1]}', file=sys.stderr)
        self.has_warned = True


class _Brief(logging.Filter):
    """Keeps long messages of the start, and those that nobody can act on, from the terminal."""

    starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a message."""
        text = record.getMessage()
        return not text.startswith(_NOTHING_TO_DO) and not (self.starting and '\n' in text)
