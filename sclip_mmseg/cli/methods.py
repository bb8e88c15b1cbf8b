"""``sclip methods``: the methods with their papers and configs, or how they compare."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..utils.errors import nearest
from ..utils.shipped import configs_dir
from ..zoo import METHODS


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each method; of those named, their papers and configs."""
    parser = argparse.ArgumentParser(description='The methods with their papers and configs.')
    parser.add_argument('name', nargs='*', metavar='NAME', help='list the configs of these')
    parser.add_argument(
        '--compare',
        action='store_true',
        help='what families of methods need, reach and cannot do, as Markdown',
    )
    args = parser.parse_args(argv)
    if args.compare and args.name:
        parser.error('--compare is of all methods: leave NAME out')
    if args.compare:
        from ..families import compare  # which takes long to import

        print('\n'.join(compare()))
    else:
        print('\n'.join(_configs(args.name) if args.name else _table()))


def _table() -> list[str]:
    width, between = max(map(len, METHODS)), max(map(len, METHODS.values()))
    return [
        *(
            f'{name:{width}}  {pattern.replace("{}", "*"):{between}}  {_paper(pattern)["Title"]}'
            for name, pattern in METHODS.items()
        ),
        '',
        'sclip methods NAME lists the configs of a method; one is evaluated by',
        f'sclip test sclip_mmseg::{METHODS["sclip"].format("voc20")}',
        'sclip methods --compare says what families of methods need and cannot do',
    ]


def _configs(names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        if name not in METHODS:
            hint = nearest(name, METHODS) or ': sclip methods lists them'
            sys.exit(f"error: there is no method '{name}'{hint}")
        paper = _paper(METHODS[name])
        lines += [f'{name}: {paper["Title"]}', paper['URL']]
        found = sorted(configs_dir().glob(METHODS[name].format('*')))
        lines += [f'  sclip_mmseg::{path.relative_to(configs_dir()).as_posix()}' for path in found]
    return lines


def _paper(pattern: str) -> dict[str, str]:
    """``Title`` and ``URL`` of the paper behind a method's configs."""
    import yaml

    path = configs_dir() / Path(pattern).parent / 'metafile.yml'
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    with open(path, encoding='utf-8') as file:
        return yaml.load(file, loader)['Collections'][0]['Paper']
