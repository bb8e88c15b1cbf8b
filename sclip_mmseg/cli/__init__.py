"""The command ``sclip``, whose subcommands are the modules of this package.

PyTorch, mmengine and other slow imports are deferred, so that ``--help`` is fast.
"""

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..utils.errors import nearest
from ..utils.interrupt import end_at_once_if_interrupted
from ..utils.pipes import exit_on_broken_pipe
from ..version import __version__


class Command(NamedTuple):
    """A subcommand: its module in this package, and a description for the help."""

    module: str
    about: str


COMMANDS: dict[str, Command] = {
    'segment': Command('segment', 'segment your own images and videos into your own classes'),
    'web': Command('web', 'the same as a local web page'),
    'export': Command('export', 'write your own classes as an ONNX model, which needs no PyTorch'),
    'methods': Command('methods', 'list the methods with their papers, or the configs of one'),
    'evaluate': Command('evaluate', 'evaluate methods on your own labelled images'),
    'test': Command('test', 'evaluate a config on its benchmark'),
    'compare': Command('compare', 'compare saved results: intervals, valid claims, a report'),
    'benchmark': Command('benchmark', 'compare methods x benchmarks with the published numbers'),
    'bank build': Command('build_bank', 'build a memory bank of unlabelled images'),
    'data prepare': Command('prepare_data', 'prepare benchmarks from the official archives'),
    'data check': Command('check_data', 'check the files of a dataset for errors'),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand.

    Args:
        argv: Name and arguments of the subcommand; None for those of the command line.

    Raises:
        SystemExit: With the subcommand's exit code; 2 if the subcommand does not exist.
    """
    if argv is None:
        end_at_once_if_interrupted()
        gc.disable()  # faster imports, which leave no garbage; as_program enables it again
    with exit_on_broken_pipe():
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
            'sclip COMMAND --help shows the options. Datasets are in $SCLIP_DATA_ROOT, by default',
            'data/ of the clone or, without a clone, of the current folder.',
        ]
    )


def _refuse(name: str) -> None:
    found = [command for command in COMMANDS if command.startswith(f'{name} ')] or list(COMMANDS)
    hint = nearest(name, found) or f': there are {", ".join(found)}'
    print(f"error: sclip has no command '{name}'{hint}", file=sys.stderr)
    sys.exit(2)


def _run(name: str, arguments: list[str]) -> None:
    """Call ``main`` of a subcommand, as if it were a separate program."""
    program = importlib.import_module(f'.{COMMANDS[name].module}', __name__)
    before = sys.argv
    sys.argv = [f'sclip {name}', *arguments]  # the first item is shown in the usage
    try:
        program.main(arguments)
    finally:
        sys.argv = before
