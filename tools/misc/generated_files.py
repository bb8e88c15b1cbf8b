"""Write files of this repository that a program generates, or check that they are up to date."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def write_outdated(
    make: Callable[[], dict[Path, str]], description: str | None, argv: Sequence[str] | None
) -> None:
    """Write outdated files; with --check, exit with code 1 if there are any.

    Args:
        make: Function that returns the text of each file by its path.
        description: What ``--help`` says.
        argv: Arguments; None for those of this process.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--check', action='store_true', help='only list outdated files')
    args = parser.parse_args(argv)
    outdated = {
        path: text
        for path, text in make().items()
        if not path.is_file() or path.read_text(encoding='utf-8') != text
    }
    for path, text in outdated.items():
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
        print(f'{"outdated" if args.check else "written"}: {path.relative_to(ROOT)}')
    sys.exit(args.check and bool(outdated))
