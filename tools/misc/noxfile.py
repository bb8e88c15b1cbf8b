"""Test the package with other versions of Python and its dependencies, and record the results.

    pip install "nox[uv]"
    nox -f tools/misc/noxfile.py                      # all sessions whose Python is installed
    nox -f tools/misc/noxfile.py -s lowest-3.10

A session installs the package, evaluates SCLIP on the toy benchmark, runs tests, and updates
its row in the table in docs/compatibility.md. uv's settings apply, such as `UV_FIND_LINKS`.
"""

import datetime
import re
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / 'docs/compatibility.md'
PYTHONS = ['3.10', '3.11', '3.12', '3.13', '3.14']
CONFIG = 'configs/toy/sclip_toy_voc20.py'
MIOU = 46.08  # of CONFIG, as in tests/test_toy.py
TESTS = ['test_compat', 'models/test_methods', 'models/test_pamr', 'models/test_decision']
#: Packages in the table; of alternatives, the installed one is shown.
COLUMNS = [
    ['torch'],
    ['numpy'],
    ['mmcv-lite', 'mmcv', 'onedl-mmcv'],
    ['mmengine', 'onedl-mmengine'],
    ['mmsegmentation', 'onedl-mmsegmentation'],
]
VERSIONS = f"""
import platform
from importlib.metadata import PackageNotFoundError, version

def find(names):
    for name in names:
        try:
            return name + ' ' + version(name)
        except PackageNotFoundError:
            pass
    return 'none'

print(' | '.join([platform.python_version(), *map(find, {COLUMNS})]))
"""

nox.options.envdir = str(ROOT / '.nox')
nox.options.default_venv_backend = 'uv'
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ['pinned', 'lowest', 'newest', 'onedl']


@nox.session(python=PYTHONS)
def pinned(session):
    """The versions of requirements.txt, as `make` installs them."""
    session.chdir(ROOT)
    session.install('-r', 'requirements.txt')
    check(session)


@nox.session(python=PYTHONS[:1])
def lowest(session):
    """The lower bounds of setup.py, all at once."""
    session.chdir(ROOT)
    session.install('--resolution', 'lowest-direct', '-e', '.[lite]')
    check(session)


@nox.session(python=PYTHONS[3:])
def newest(session):
    """The newest versions that setup.py allows."""
    session.chdir(ROOT)
    session.install('--upgrade', '-e', '.[lite]')
    check(session)


@nox.session(python=PYTHONS[3:4])
def onedl(session):
    """OneDL's mmsegmentation and mmengine with mmcv-lite."""
    session.chdir(ROOT)
    session.install('-e', '.[lite]')
    session.run('uv', 'pip', 'uninstall', 'mmengine', 'mmsegmentation', external=True)
    session.install('onedl-mmengine', 'onedl-mmsegmentation')
    check(session)


@nox.session(python=PYTHONS[1:2])
def mmcv(session):
    """Full mmcv, compiled from source without a wheel (half an hour). Not run by default."""
    session.chdir(ROOT)
    session.install('-r', 'requirements.txt')
    session.run('uv', 'pip', 'uninstall', 'mmcv-lite', external=True)
    session.install('setuptools<81', 'wheel', 'ninja', 'psutil')
    session.install('mmcv==2.1.0', '--no-build-isolation', env={'MMCV_WITH_OPS': '1'})
    check(session)


def check(session):
    """Evaluate, test, and record the results."""
    code = 'from importlib.metadata import version as v; print(v("opencv-python"))'
    version = session.run('python', '-c', code, silent=True).strip()
    # As in the Makefile: overwrites opencv-python, which uses the same folder.
    session.install('--no-deps', '--reinstall', f'opencv-python-headless=={version}')
    session.install('pytest')
    work = session.create_tmp()
    results = []
    for command in (
        ['tools/test.py', CONFIG, '--work-dir', work],
        ['-m', 'pytest', '-q', '-m', 'not golden', *(f'tests/{name}.py' for name in TESTS)],
    ):
        output = session.run(
            'python', *command, silent=True, success_codes=range(256), env={'OMP_NUM_THREADS': '1'}
        )
        session.log(output[-3000:])
        results.append(output)
    miou = re.search(r'aAcc: .* mIoU: ([\d.]+)', results[0])
    summary = results[1].strip().splitlines()[-1]
    tests = ', '.join(re.findall(r'\d+ (?:failed|passed|skipped|errors?)', summary)) or 'fail'
    bad = 'passed' not in tests or 'failed' in tests or 'error' in tests
    good = miou and abs(float(miou[1]) - MIOU) < 0.01 and not bad
    versions = session.run('python', '-c', VERSIONS, silent=True).strip()
    cells = [miou[1] if miou else 'fails', tests]
    record(session.name, f'{versions} | {" | ".join(cells)} | {datetime.date.today()}')
    if not good:
        session.error(f'mIoU and tests: {cells}, not {MIOU} and all passed')


def record(name: str, cells: str) -> None:
    """Replace a session's row in the table, or append it."""
    lines = TABLE.read_text(encoding='utf-8').splitlines()
    table = [index for index, text in enumerate(lines) if text.startswith('|')]
    same = [index for index in table if lines[index].startswith(f'| `{name}` |')]
    start, end = (same[0], same[0] + 1) if same else (table[-1] + 1, table[-1] + 1)
    lines[start:end] = [f'| `{name}` | {cells} |']
    TABLE.write_text('\n'.join(lines) + '\n', encoding='utf-8')
