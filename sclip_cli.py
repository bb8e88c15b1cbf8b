"""The command ``sclip``, whose subcommands are the programs in ``tools/``.

It lies beside the package instead of in it: help and the list of methods need not wait for PyTorch,
which importing the package brings.
"""

import difflib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand: its program in ``tools/``, None for one of this file, and what it does."""

    program: str | None
    about: str


COMMANDS: dict[str, Command] = {
    'segment': Command('demo.py', 'own classes on own pictures and videos'),
    'web': Command('web_demo.py', 'the same as a local web page'),
    'methods': Command(None, 'the methods with their papers; of one, its configs too'),
    'test': Command('test.py', 'evaluate a config on its benchmark'),
    'benchmark': Command('benchmark.py', 'methods x benchmarks against the published numbers'),
    'data prepare': Command('prepare_data.py', 'lay benchmarks out, from the official archives'),
    'data check': Command('check_data.py', 'find what is wrong with the files of a benchmark'),
}


def end_at_once_if_interrupted() -> None:
    """Let Ctrl-C end the process with one line; programs in ``tools/`` call this first of all."""
    _load('utils/interrupt.py').end_at_once_if_interrupted()


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand.

    Args:
        argv: Its name and arguments; None for those of the command line.

    Raises:
        SystemExit: As the subcommand's program does; 2 if there is no such subcommand.
    """
    if argv is None:
        end_at_once_if_interrupted()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['--version']:
        print(f'sclip_mmseg {_load("version.py").__version__}')
        return
    if not words or words[0] in ('-h', '--help', 'help'):
        print(_usage())
        return
    length = 1 + any(name.startswith(f'{words[0]} ') for name in COMMANDS)
    name, arguments = ' '.join(words[:length]), words[length:]
    if name not in COMMANDS:
        if words[1:2] in (['-h'], ['--help']):
            print(_usage())
            return
        _refuse(name)
    if name == 'methods':
        print(_methods(arguments))
    else:
        _run(name, arguments)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f'  sclip {name:{width}}  {command.about}' for name, command in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: sclip COMMAND [ARGUMENTS]',
            '',
            'Open-vocabulary segmentation with a frozen CLIP, for MMSegmentation.',
            '',
            *lines,
            '',
            'sclip COMMAND --help says more. Datasets are below $SCLIP_DATA_ROOT; where it is not',
            'set, below data/ of the clone or, without a clone, of the current folder.',
        ]
    )


def _refuse(name: str) -> None:
    found = [command for command in COMMANDS if command.startswith(f'{name} ')]
    hint = _hint(name, found or list(COMMANDS))
    print(f"error: sclip has no command '{name}'{hint}", file=sys.stderr)
    sys.exit(2)


def _hint(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{found[0]}'?)" if found else f': there are {", ".join(known)}'


def _run(name: str, arguments: list[str]) -> None:
    """Call ``main`` of a program as if it were started by itself."""
    folder = _load('utils/shipped.py').tools_dir()
    before, path = list(sys.argv), list(sys.path)
    sys.argv = [f'sclip {name}', *arguments]  # whose first item stands in the usage
    sys.path.insert(0, str(folder))  # programs import what lies beside them
    try:
        _load_file(folder / COMMANDS[name].program).main(arguments)
    finally:
        sys.argv, sys.path[:] = before, path


def _methods(arguments: Sequence[str]) -> str:
    """A line for each method; of those named, their papers and configs."""
    table = _load('zoo.py').METHODS
    if not arguments:
        width, between = max(map(len, table)), max(map(len, table.values()))
        lines = [
            f'{name:{width}}  {pattern.replace("{}", "*"):{between}}  {_paper(pattern)["Title"]}'
            for name, pattern in table.items()
        ]
        lines += ['', 'sclip methods NAME lists the configs of a method; one is evaluated by']
        lines += [f'sclip test sclip_mmseg::{table["sclip"].format("voc20")}']
        return '\n'.join(lines)
    if arguments[0] in ('-h', '--help'):
        return 'usage: sclip methods [NAME ...]\n\nThe methods with their papers and configs.'
    lines = []
    for name in arguments:
        if name not in table:
            sys.exit(f"error: there is no method '{name}'{_hint(name, list(table))}")
        paper, configs = _paper(table[name]), _load('utils/shipped.py').configs_dir()
        lines += [f'{name}: {paper["Title"]}', paper['URL']]
        found = sorted(configs.glob(table[name].format('*')))
        lines += [f'  sclip_mmseg::{path.relative_to(configs).as_posix()}' for path in found]
    return '\n'.join(lines)


def _paper(pattern: str) -> dict[str, str]:
    """``Title`` and ``URL`` of the paper behind a method's configs."""
    import yaml

    path = _load('utils/shipped.py').configs_dir() / Path(pattern).parent / 'metafile.yml'
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
    with open(path, encoding='utf-8') as file:
        return yaml.load(file, loader)['Collections'][0]['Paper']


def _load(name: str) -> ModuleType:
    """Load a file of the package that imports no other, without importing the package."""
    package = Path(importlib.util.find_spec('sclip_mmseg').origin).parent
    return _load_file(package / name)


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'sclip_cli_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == '__main__':
    main()
