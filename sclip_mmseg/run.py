"""Run a script that imports mmseg: ``python -m sclip_mmseg.run SCRIPT [ARGUMENTS ...]``.

Importing this package first lets mmseg run on mmcv-lite, and registers all that configs name.
"""

import os
import os.path as osp
import sys
from typing import Any

from sclip_mmseg.utils.program import as_program

_USAGE = """usage: python -m sclip_mmseg.run SCRIPT [ARGUMENTS ...]

Run a script of MMSegmentation (tools/test.py, demo/image_demo.py, ...) or of your own, after
sclip_mmseg was imported."""
_SCRIPT = 'SCLIP_RUN_SCRIPT'  # by which processes that are spawned know the script


def run_script(script: str, namespace: dict[str, Any]) -> None:
    """Run a script as Python itself would run it.

    Args:
        script: Its path.
        namespace: The main module's, in which it is run: there, pickle and processes that are
            spawned look for what it defines.
    """
    sys.argv[0] = script
    with open(script, 'rb') as file:
        code = compile(file.read(), script, 'exec', dont_inherit=True)
    namespace.update(__file__=script, __doc__=None)
    exec(code, namespace)


def main(namespace: dict[str, Any]) -> None:
    """Run the script that the command line names.

    Args:
        namespace: See :func:`run_script`.

    Raises:
        SystemExit: As the script does; with one line where there is no such script.
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
