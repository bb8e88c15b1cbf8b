"""Split files, which list the images of a split, one name per line."""

from mmseg.datasets import BaseSegDataset

from ..utils.errors import InputError


def check_split(path: str) -> None:
    """Check that mmseg reads a split file correctly.

    Raises:
        InputError: If the file is not UTF-8 text, or has an empty line, a byte-order mark or a
            duplicate name: mmseg would read the first two as names, and count the third twice.
    """
    try:
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8 text: {error}') from error
    if lines and lines[0].startswith('\ufeff'):
        raise InputError(f'{path} begins with a byte-order mark: save it as UTF-8 without one')
    names: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            raise InputError(f'{path} has no name in line {number}: remove the empty line')
        if name in names:
            raise InputError(
                f'{path} has {name} in line {names[name]} and in line {number}: remove one, or '
                'the image would count twice'
            )
        names[name] = number


def lists_names(dataset_class: type) -> bool:
    """Whether a dataset reads its ``ann_file`` like mmseg's, one name per line."""
    return getattr(dataset_class, 'load_data_list', None) is BaseSegDataset.load_data_list
