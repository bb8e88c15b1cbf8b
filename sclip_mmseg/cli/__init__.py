"""The command ``sclip``, whose subcommands are the modules of this package.

Their help waits for neither PyTorch nor mmengine: what takes long is imported where it is used.
"""

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..utils.errors import nearest
from ..utils.interrupt import end_at_once_if_interrupted
from ..utils.pipes import ends_with_its_reader
from ..version import __version__


class Command(NamedTuple):
    """A subcommand: its module in this package, and what it does."""

    module: str
    about: str


COMMANDS: dict[str, Command] = {
    'segment': Command('segment', 'own classes on own pictures and videos'),
    'web': Command('web', 'the same as a local web page'),
    'export': Command('export', 'own classes as an ONNX model, which runs without PyTorch'),
    'methods': Command('methods', 'the methods with their papers; of one, its configs too'),
    'evaluate': Command('evaluate', 'methods on your own labelled images'),
    'test': Command('test', 'evaluate a config on its benchmark'),
    'compare': Command('compare', 'saved results: intervals, what may be claimed, a report'),
    'benchmark': Command('benchmark', 'methods x benchmarks against the published numbers'),
    'bank build': Command('build_bank', 'a memory bank of unlabelled pictures'),
    'data prepare': Command('prepare_data', 'lay benchmarks out, from the official archives'),
    'data check': Command('check_data', 'find what is wrong with the files of a dataset'),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand.

    Args:
        argv: Its name and arguments; None for those of the command line.

    Raises:
        SystemExit: As the subcommand's program does; 2 if there is no such subcommand.
    """
    if argv is None:
        end_at_once_if_interrupted()
        gc.disable()  # imports leave no garbage to look for; as_program enables it again
    with ends_with_its_reader():
        _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> None:
    if words[:1] == ['--version']:
        print(f'sclip_mmseg {__version__}')
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
    found = [command for command in COMMANDS if command.startswith(f'{name} ')] or list(COMMANDS)
    hint = nearest(name, found) or f': there are {", ".join(found)}'
    print(f"error: sclip has no command '{name}'{hint}", file=sys.stderr)
    sys.exit(2)


def _run(name: str, arguments: list[str]) -> None:
    """Call ``main`` of a subcommand, as if it were a program of its own."""
    program = importlib.import_module(f'.{COMMANDS[name].module}', __name__)
    before = sys.argv
    sys.argv = [f'sclip {name}', *arguments]  # whose first item stands in the usage
    try:
        program.main(arguments)
    finally:
        sys.argv = before
