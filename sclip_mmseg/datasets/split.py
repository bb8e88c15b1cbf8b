"""Files that list the images of a split, a name per line."""

import os.path as osp
import tempfile
from contextlib import contextmanager
from typing import Dict, Iterator, List, Tuple, Union

from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..utils.errors import InputError


def read_split(path: str) -> Tuple[List[str], bool]:
    """Read a split file.

    Returns:
        The names, and whether mmseg would read others: of empty lines and a byte-order mark, which
        editors on Windows write, it makes names.

    Raises:
        InputError: If the file is not UTF-8 text, or has a name twice.
    """
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error
    names: Dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.lstrip('\ufeff').strip()
        if name in names:
            raise InputError(
                f'{path} has {name} in line {names[name]} and in line {number}: remove one, or '
                'the image would count twice'
            )
        if name:
            names[name] = number
    return list(names), list(names) != [line.strip() for line in lines]


def with_clean_split(dataloader: dict) -> dict:
    """A copy of a data loader's config, with the dataset built where mmseg would misread its split.

    Raises:
        InputError: See :func:`read_split`.
    """
    cfg = dataloader.get('dataset')
    if not isinstance(cfg, dict) or not cfg.get('ann_file') or not _lists_names(cfg['type']):
        return dataloader
    path = osp.join(cfg.get('data_root') or '', cfg['ann_file'])
    if not osp.isfile(path) or not read_split(path)[1]:
        return dataloader
    dataset = DATASETS.build(dict(cfg, lazy_init=True))
    with clean_split(dataset):
        dataset.full_init()
    return dict(dataloader, dataset=dataset)


@contextmanager
def clean_split(dataset: BaseDataset) -> Iterator[None]:
    """Let a dataset that is not initialised yet read its split as :func:`read_split` does.

    Raises:
        InputError: See :func:`read_split`.
    """
    path = getattr(dataset, 'ann_file', '')
    if not path or not osp.isfile(path) or not _lists_names(type(dataset)):
        yield
        return
    names, misread = read_split(path)
    if not misread:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset.ann_file = osp.join(folder, osp.basename(path))
        with open(dataset.ann_file, 'w', encoding='utf-8') as file:
            file.writelines(f'{name}\n' for name in names)
        try:
            yield
        finally:
            dataset.ann_file = path


def _lists_names(kind: Union[str, type]) -> bool:
    """Whether a dataset, by class or registered name, reads its ``ann_file`` as mmseg's do."""
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return getattr(kind, 'load_data_list', None) is BaseSegDataset.load_data_list
