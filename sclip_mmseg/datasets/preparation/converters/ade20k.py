"""ADE20K's scene parsing benchmark: the validation split, as it is."""

from pathlib import Path

from ...benchmarks import BENCHMARKS
from ..raw import RawData
from ..splits import pair_tasks
from ..tasks import Task

[CHALLENGE] = BENCHMARKS['ade20k'].archives


def plan(raw: RawData, out: Path) -> list[Task]:
    """List the files to be made.

    Args:
        raw: The official files.
        out: The data root.

    Raises:
        InputError: If something is missing.
    """
    folder = 'ADEChallengeData2016'
    images = raw.require(rf'{folder}/images/validation/(\w+)\.jpg', CHALLENGE)
    labels = raw.require(rf'{folder}/annotations/validation/(\w+)\.png', CHALLENGE)
    targets = 'images/validation/{}.jpg', 'annotations/validation/{}.png'
    return pair_tasks(out / 'ade' / folder, images, labels, targets)
