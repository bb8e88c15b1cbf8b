"""Fixtures: a CLIP of seeded weights, small datasets, and the reference data where present.

What takes long to import is imported where it is used: the workers of ``pytest -n`` wait for the
process that starts them, which needs none of it.
"""

import gc
import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from paths import ROOT, SHARED

_private_passed = 0
LONGEST = (
    'test_test',
    'test_toy',
    'test_golden_trained',
    'test_benchmark',
    'test_golden',
    'test_golden_proxy',
    'test_golden_clip_only',
    'test_own_images',
    'test_names_and_protocols',
    'test_sweep_thresholds',
    'test_programs',
    'test_web_demo',
    'test_other_device',
    'test_resume',
    'test_hub_weights',
    'test_memory',
    'test_notebook',
    'test_packaging',
    'test_compat',
    'test_methods',
    'test_configs',
    'test_failures',
    'test_session',
)
PRECISIONS = ('fp32', 'fp16', 'bf16')


def pytest_addoption(parser):
    """Add the options ``--device`` and ``--dtype`` of the tests of models."""
    parser.addoption(
        '--device', default='cpu', help='cpu (default), cuda, mps, or other: tests/other_device.py'
    )
    parser.addoption('--dtype', choices=PRECISIONS, help='precision of towers (default: all)')


def pytest_generate_tests(metafunc):
    """Run what takes a precision, and does not choose, in all of them or in the one asked for."""
    marks = metafunc.definition.iter_markers('parametrize')
    chosen_by_test = any('precision' in mark.args[0] for mark in marks)
    if 'precision' in metafunc.fixturenames and not chosen_by_test:
        chosen = metafunc.config.getoption('--dtype')
        metafunc.parametrize('precision', [chosen] if chosen else PRECISIONS)


@pytest.fixture(scope='session')
def device(request):
    """The device asked for; skips where there is none of its kind."""
    import other_device
    import torch

    name = request.config.getoption('--device')
    if name == other_device.NAME:
        if not other_device.is_supported():
            pytest.skip('this PyTorch has no devices written in Python')
        return other_device.device()
    device = torch.device(name)
    if not getattr(torch, device.type).is_available():
        pytest.skip(f'there is no device of type {device.type}')
    return device


@pytest.fixture(scope='session', autouse=True)
def _isolated(tmp_path_factory):
    """Keep caches out of the home folder, and the environment's data out of the configs."""
    base = tmp_path_factory.getbasetemp()
    places = {'SCLIP_CACHE_DIR': str(base / 'cache'), 'SCLIP_DOWNLOAD_ROOT': str(base / 'clip')}
    with mock.patch.dict(os.environ, places):
        os.environ.pop('SCLIP_DATA_ROOT', None)
        yield


@pytest.fixture(scope='session', autouse=True)
def _configs_are_read_in_memory():
    """Keep mmengine's copies of configs off the disk, which takes most of the time of reading."""
    import tempfile

    folder = partial(tempfile.TemporaryDirectory, dir='/dev/shm')
    if not os.path.isdir('/dev/shm'):
        yield
        return
    with mock.patch(
        'mmengine.config.config.tempfile', mock.Mock(wraps=tempfile, TemporaryDirectory=folder)
    ):
        yield


@pytest.fixture(scope='session', autouse=True)
def _configs_are_not_laid_out():
    """Leave out the text of each run's config in its log, which takes as long as all the rest."""
    from mmengine.config import Config

    whole = Config.__dict__['pretty_text']
    with mock.patch.object(Config, 'pretty_text', ''):
        yield whole


@pytest.fixture(scope='module')
def whole_configs(_configs_are_not_laid_out):
    """Write configs all the same, in long lines: they are read again."""
    from mmengine.config import Config, config

    with (
        mock.patch.object(Config, 'pretty_text', _configs_are_not_laid_out),
        mock.patch.object(config, 'FormatCode', lambda text, **_: (text, True)),
    ):
        yield


@pytest.fixture(autouse=True)
def _own_images_in_float32(monkeypatch):
    """Labels do not depend on the processor that runs the tests."""
    monkeypatch.setattr('sclip_mmseg.apis.precision.is_half_fast', lambda device: False)


@pytest.fixture(autouse=True)
def _module_paths(monkeypatch):
    """Take back the current folder, which is added where a config or an option imports modules."""
    monkeypatch.setattr(sys, 'path', list(sys.path))


@pytest.fixture(autouse=True)
def _default_scope():
    """Keep mmengine's scope as the configs set it."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')


@pytest.fixture(autouse=True)
def _no_lock_is_kept():
    """Find errors that leave mmengine's lock taken, for which other threads wait for ever."""
    from mmengine.utils import manager

    yield
    if manager._lock._is_owned():
        manager._lock.release()
        pytest.fail('an error left the lock of mmengine.utils.manager taken')


@pytest.fixture(autouse=True)
def _visualizers():
    """Reset visualizers and loggers: mmengine keeps them, with the folder of the previous test."""
    from mmengine.logging import MMLogger
    from mmengine.visualization import Visualizer

    from sclip_mmseg.visualization import OverlayVisualizer

    with (
        mock.patch.object(Visualizer, '_instance_dict', {}),
        mock.patch.object(OverlayVisualizer, '_instance_dict', {}),
        mock.patch.object(MMLogger, '_instance_dict', {}),
    ):
        yield


@pytest.fixture(scope='session')
def clip_path(tmp_path_factory) -> str:
    """Path of a small CLIP with seeded weights, in OpenAI's layout."""
    import torch
    from helpers import seeded_clip

    path = tmp_path_factory.mktemp('weights') / 'clip.pt'
    torch.save(seeded_clip(), path)
    return str(path)


@pytest.fixture(scope='session')
def dino_path(tmp_path_factory) -> str:
    """Path of a small DINO with seeded weights and patches of 8 pixels."""
    import torch
    from helpers import seeded_dino

    path = tmp_path_factory.mktemp('weights') / 'dino.pth'
    torch.save(seeded_dino(), path)
    return str(path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the Hugging Face Hub, which its client takes for the real one."""
    from hub_server import Hub
    from huggingface_hub import constants, file_download

    from sclip_mmseg.towers import repository

    hub = Hub()
    template = f'{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
    monkeypatch.setattr(constants, 'ENDPOINT', hub.url)
    for module in (constants, file_download):  # versions before 1.0 have a copy
        monkeypatch.setattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE', template, raising=False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'token'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_IMPLICIT_TOKEN', False)
    for name in ('HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN'):
        monkeypatch.delenv(name, raising=False)
    repository._of_repository.cache_clear()
    yield hub
    repository._of_repository.cache_clear()
    hub.close()


@pytest.fixture
def forked_pairs(monkeypatch):
    """Fork the processes of a suite, which are spawned otherwise: it saves their imports."""
    import torch

    from sclip_mmseg.benchmark import suite

    start = suite.multiprocessing.start_processes

    def fork(function, *args, **options):
        def run(*each):
            torch.set_num_threads(1)  # those that OpenMP had are not forked
            function(*each)

        return start(run, *args, **{**options, 'start_method': 'fork'})

    monkeypatch.setattr(suite.multiprocessing, 'start_processes', fork)


@pytest.fixture
def voc_root(tmp_path) -> Path:
    """A folder of datasets with three made-up VOC images of unequal size."""
    from helpers import make_voc

    return make_voc(tmp_path / 'data')


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of reference data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip('the reference data (../shared) are not beside this clone')
    return SHARED


@pytest.fixture(scope='session')
def golden_clip(shared, tmp_path_factory) -> str:
    """Path of the seeded CLIP of the golden files."""
    import torch

    sys.path.insert(0, str(shared / 'golden'))
    from tiny_clip import tiny_clip_state_dict

    path = tmp_path_factory.mktemp('golden') / 'clip.pt'
    torch.save(tiny_clip_state_dict(seed=0), path)
    return str(path)


@pytest.fixture(scope='session')
def real_clip(shared, tmp_path_factory) -> str:
    """Path of OpenAI's ViT-B/16 image tower."""
    import runpy

    path = tmp_path_factory.mktemp('real') / 'visual.safetensors'
    with mock.patch.object(sys, 'argv', ['make_checkpoint.py', str(path)]):
        runpy.run_path(str(shared / 'real_clip/make_checkpoint.py'))
    return str(path)


@pytest.fixture
def in_root(monkeypatch):
    """Run in the repository's root."""
    monkeypatch.chdir(ROOT)


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that the workers of ``pytest -n`` end together."""
    order = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """Leave all that is imported out of garbage collections, a fifth of the time otherwise."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report):
    global _private_passed
    golden = 'golden' in report.keywords and 'public' not in report.keywords
    if report.when == 'call' and report.passed and golden:
        _private_passed += 1


def pytest_configure(config):
    """Share the cores between the workers of ``pytest -n``, and what the tests start."""
    if not config.getoption('numprocesses', None):  # does not start workers
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # what torch says of itself
            import sclip_mmseg  # noqa: F401 - registers the package, before any test imports mmseg
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # by a shell that runs this behind
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that programs heed it
    if hasattr(config, 'workerinput'):
        import torch

        threads = max(1, (os.cpu_count() or 1) // config.workerinput['workercount'])
        os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = str(threads)
        torch.set_num_threads(threads)


def pytest_sessionfinish(session, exitstatus):
    """Fail CI where the reference data are present but no golden case was compared."""
    if hasattr(session.config, 'workerinput'):
        return  # the one that started the workers hears of all their tests
    if os.environ.get('CI') and SHARED.is_dir() and not exitstatus and not _private_passed:
        print('\n../shared is present, but no golden case of it passed')
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter, config):
    """Say what this run leaves out."""
    left_out = []
    if config.getoption('markexpr') == 'not slow':
        left_out.append('tests marked slow (make test-all)')
    if config.getoption('--device') == 'cpu':
        left_out.append('GPUs (pytest --device cuda)')
    if not SHARED.is_dir():
        left_out.append(
            "comparisons with the authors' programs whose outputs are not here (no ../shared)"
        )
    if left_out:
        terminalreporter.write_line(f'Left out: {"; ".join(left_out)}.')
