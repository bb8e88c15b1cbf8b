"""Wrapped datasets, the images and transforms of a dataset, and whether its files are local."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from mmengine.dataset import BaseDataset


def parts_of(dataset: Any) -> list[Any]:
    """The datasets in a wrapper such as ``ConcatDataset``, or the dataset itself.

    Args:
        dataset: A dataset or its config.
    """
    read = dataset.get if isinstance(dataset, dict) else lambda key: getattr(dataset, key, None)
    inner = read('datasets') or ([read('dataset')] if read('dataset') is not None else [])
    return [part for each in inner for part in parts_of(each)] or [dataset]


def for_each_part(check: Callable[..., None]) -> Callable[..., None]:
    """Decorator that applies a check of a dataset to each part of a wrapped dataset."""

    @wraps(check)
    def check_parts(dataset: BaseDataset, *args: Any, **kwargs: Any) -> None:
        for part in parts_of(dataset):
            check(part, *args, **kwargs)

    return check_parts


def image_paths(dataset: BaseDataset) -> list[str]:
    """Paths of a dataset's images, in its order."""
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


def steps_of(dataset: BaseDataset) -> Sequence[Any]:
    """The transforms of a dataset's pipeline, also if it is wrapped for checks."""
    pipeline = dataset.pipeline
    return getattr(getattr(pipeline, 'original', pipeline), 'transforms', ())


def is_on_disk(dataset: BaseDataset) -> bool:
    """Whether a dataset's images and labels are local files, not in another file backend."""
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    backends = [getattr(each, 'backend_args', None) or {} for each in (dataset, *steps)]
    local = all(backend.get('backend', 'local') == 'local' for backend in backends)
    return local and '://' not in str(dataset.get_data_info(0).get('img_path'))
