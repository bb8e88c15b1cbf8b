"""Run a script that imports mmseg: ``python -m sclip_mmseg.run SCRIPT [ARGUMENTS ...]``.

Importing this package first lets mmseg run on mmcv-lite, and registers the classes of the configs.
"""

import os
import os.path as osp
import sys
from typing import Any

from sclip_mmseg.utils.program import as_program

_USAGE = """usage: python -m sclip_mmseg.run SCRIPT [ARGUMENTS ...]

Import sclip_mmseg, then run a script of MMSegmentation (tools/test.py, demo/image_demo.py, ...) or
your own."""
_SCRIPT = 'SCLIP_RUN_SCRIPT'  # tells spawned processes which script to run


def run_script(script: str, namespace: dict[str, Any]) -> None:
    """Run a script as Python itself would.

    Args:
        script: Path of the script.
        namespace: Namespace of the main module, in which the script runs: pickle and spawned
            processes look up its definitions there.
    """
    sys.argv[0] = script
    with open(script, 'rb') as file:
        code = compile(file.read(), script, 'exec', dont_inherit=True)
    namespace.update(__file__=script, __doc__=None)
    exec(code, namespace)


def main(namespace: dict[str, Any]) -> None:
    """Run the script given on the command line.

    Args:
        namespace: See :func:`run_script`.

    Raises:
        SystemExit: If the script raises it, or, with a one-line message, does not exist.
    """
    del sys.argv[0]
    if not sys.argv or sys.argv[0] in ('-h', '--help'):
        print(_USAGE)
        sys.exit(0 if sys.argv else 2)
    script = sys.argv[0]
    if not osp.isfile(script):
        sys.exit(f'error: script {script} does not exist')
    sys.path[0] = osp.dirname(osp.abspath(script))
    os.environ[_SCRIPT] = osp.abspath(script)
    with as_program(trains=True):
        run_script(script, namespace)


if __name__ == '__main__':
    main(globals())
elif __name__ == '__mp_main__':
    run_script(os.environ[_SCRIPT], globals())
