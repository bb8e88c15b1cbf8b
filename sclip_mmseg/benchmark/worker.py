"""A worker process of an evaluation; modules that only training needs are not imported."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

from ..utils.compat import without_training
from ..utils.processes import end_with_parent


def work(rank: int, world: int, port: int, log: Path, arguments: dict[str, Any]) -> None:
    """Run one process of an evaluation; arguments as :func:`.suite.run_in_processes`."""
    with open(log, 'ab') as file:
        os.dup2(file.fileno(), 2)
    place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world, LOCAL_WORLD_SIZE=world)
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    end_with_parent()
    # The config chooses it for data loader workers.
    multiprocessing.set_start_method(None, force=True)
    with without_training():
        from ..evaluation import evaluate
    evaluate(**arguments, quiet=True)
