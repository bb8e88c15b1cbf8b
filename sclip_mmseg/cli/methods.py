"""``sclip methods``: the methods with their papers and configs, or a comparison."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from ..utils.errors import nearest
from ..utils.shipped import configs_dir, read_yaml
from ..zoo import METHODS


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each method, or the papers and configs of some methods."""
    parser = argparse.ArgumentParser(description='List the methods with their papers and configs.')
    parser.add_argument('name', nargs='*', metavar='NAME', help='methods whose configs are listed')
    parser.add_argument(
        '--compare',
        action='store_true',
        help='show what families of methods need, reach and cannot do, as Markdown',
    )
    args = parser.parse_args(argv)
    if args.compare and args.name:
        parser.error('--compare compares all methods: leave NAME out')
    if args.compare:
        from ..families import compare  # a slow import

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
        'sclip methods NAME lists the configs of a method; to evaluate one:',
        f'sclip test sclip_mmseg::{METHODS["sclip"].format("voc20")}',
        'sclip methods --compare shows what families of methods need and cannot do',
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
    return read_yaml(f'{PurePosixPath(pattern).parent}/metafile.yml')['Collections'][0]['Paper']
