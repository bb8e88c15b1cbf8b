import builtins
import multiprocessing
import pkgutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import ROOT, build_model, config_path, load_images, metrics, run_test
from mmengine.config import Config

from sclip_mmseg.utils import compat, processes

HIDE = """
import importlib.util, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hidden())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in {names} else real(name, *a)
"""
END = """
import gc
gc.freeze()  # a second less at the end
"""


def _run(code, hide=()):
    program = HIDE.format(names=set(hide) or {''}) + textwrap.dedent(code) + END
    result = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_without_pkg_resources_torchvision_and_transformers():
    """Also where Python has no `pkgutil.find_loader`."""
    code = """
        import pkgutil
        vars(pkgutil).pop('find_loader', None)
        import sclip_mmseg
        from mmengine.hub import get_config
        from mmengine.utils.dl_utils.misc import mmcv_full_available
        from sclip_mmseg.utils.compat import openai_clip
        mmcv_full_available()
        cfg = get_config('sclip_mmseg::sclip/sclip_vit-b16_voc20.py')
        assert cfg.model.text_head.queries == 'voc20'
        assert openai_clip('simple_tokenizer').SimpleTokenizer().encode('cat') == [2368]
        assert openai_clip('model').VisionTransformer
        assert 'clip' not in sys.modules
    """
    _run(code, hide=['pkg_resources', 'torchvision', 'transformers'])


def test_config_scope_as_a_base(tmp_path, clip_path, voc_root):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'sclip_mmseg::sclip/sclip_vit-b16_voc20.py'\n"
        'model = dict(test_cfg=dict(logit_scale=30.0))\n'
    )
    cfg = Config.fromfile(path)
    assert cfg.model.test_cfg.logit_scale == 30
    assert cfg.model.test_cfg.stride == (112, 112)
    cfg.model.image_encoder.clip = clip_path
    model = build_model(cfg)
    [result] = model.test_step(load_images(cfg, sorted(voc_root.rglob('*.jpg'))[:1]))
    assert result.seg_logits.data.shape[0] == 20


def test_a_missing_op_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(compat.importlib.util, 'find_spec', _no_extension)
    compat.provide_mmcv_ext()
    extension = sys.modules.pop('mmcv._ext')
    with pytest.raises(ImportError, match=r"mmcv op 'nms'.*pip install \"mmcv>=2"):
        extension.nms(1, iou=2)


_find_spec = compat.importlib.util.find_spec


def _no_extension(name, *args):
    return None if name == 'mmcv._ext' else _find_spec(name, *args)


def test_full_mmcv_is_left_alone(tmp_path, monkeypatch):
    import mmcv

    monkeypatch.delitem(sys.modules, 'mmcv._ext', raising=False)
    (tmp_path / '_ext.py').touch()
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path), *mmcv.__path__])
    compat.provide_mmcv_ext()
    assert 'mmcv._ext' not in sys.modules


def test_no_mmcv_at_all():
    code = """
        try:
            import sclip_mmseg.models
        except ImportError as error:
            print(error)
    """
    assert 'pip install mmcv-lite' in _run(code, hide=['mmcv'])


@pytest.mark.parametrize(
    'error', ["No module named 'cv2'", 'libxcb.so.1: cannot open shared object file']
)
def test_an_opencv_that_cannot_be_loaded_says_what_to_install(monkeypatch, error):
    def import_(name, *args, **kwargs):
        if name == 'cv2':
            raise ImportError(error)
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, '__import__', import_)
    with pytest.raises(ImportError) as raised:
        compat.check_opencv()
    assert str(raised.value) == (
        f'OpenCV cannot be imported ({error}): pip install --force-reinstall --no-deps '
        'opencv-python-headless, which needs no system libraries'
    )
    assert raised.value.__suppress_context__


def test_the_package_asks_for_opencv_before_what_needs_it(tmp_path):
    (tmp_path / 'cv2.py').write_text("raise ImportError('libGL.so.1: cannot open')")
    code = f"""
        sys.path.insert(0, {str(tmp_path)!r})
        try:
            import sclip_mmseg, mmengine
        except ImportError as error:
            print(error)
    """
    assert _run(code).startswith('OpenCV cannot be imported (libGL.so.1: cannot open): pip instal')


def test_find_loader_is_restored_where_python_lacks_it(monkeypatch):
    from mmengine.utils.dl_utils.misc import mmcv_full_available

    before = mmcv_full_available()
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    compat.restore_find_loader()
    assert pkgutil.find_loader('sclip_mmseg').name == 'sclip_mmseg'
    assert pkgutil.find_loader('no_such_module') is None
    assert mmcv_full_available() == before


@pytest.mark.parametrize('version', ['1.7.2', '2.2.0'])
def test_another_mmcv(monkeypatch, version):
    monkeypatch.setattr('mmcv.__version__', version)
    with pytest.raises(ImportError) as raised:
        compat.check_mmcv()
    message = str(raised.value)
    assert message.startswith(f'mmcv {version} is installed, mmsegmentation 1.2 needs >=2.0.0,<2.2')
    assert 'pip install mmcv-lite==2.1.0' in message


def test_the_versions_of_mmcv_are_those_that_mmseg_takes():
    import mmseg

    first, end = compat.MMCV
    assert mmseg.MMCV_MIN.startswith(first)  # 2.0.0rc4
    assert mmseg.MMCV_MAX == end
    assert f'mmcv-lite>={first},<{end}' in (ROOT / 'setup.py').read_text()


@pytest.mark.parametrize(
    'platform, method', [('linux', 'fork'), ('darwin', 'spawn'), ('win32', 'spawn')]
)
def test_configs_start_workers_in_a_way_that_the_system_has(monkeypatch, platform, method):
    monkeypatch.setattr(sys, 'platform', platform)
    cfg = Config.fromfile(config_path('sclip_vit-b16_voc21'))
    assert cfg.env_cfg.mp_cfg.mp_start_method == method


@pytest.mark.parametrize('platform, method', [('linux', 'fork'), ('darwin', 'spawn')])
def test_processes_start_in_the_same_way_with_any_python(monkeypatch, platform, method):
    def pool(nproc, context, **options):
        started.append(context.get_start_method())
        return ThreadPoolExecutor(nproc)

    started = []
    monkeypatch.setattr(sys, 'platform', platform)
    monkeypatch.setattr(processes, 'ProcessPoolExecutor', pool)
    assert processes.map_in_processes(abs, [-1, 2], nproc=2, disable=True) == [1, 2]
    assert started == [method]


def test_spawned_workers_import_this_package_before_mmseg(clip_path, voc_root):
    def evaluate(start, workers):
        output = run_test(
            'sclip_vit-b16_voc21',
            clip_path,
            '--cfg-options',
            f'env_cfg.mp_cfg.mp_start_method={start}',
            f'test_dataloader.num_workers={workers}',
            cwd=voc_root,
            data_root=voc_root,
        ).stdout
        return metrics(output)

    before = multiprocessing.get_start_method(allow_none=True)
    try:
        assert evaluate('spawn', 1) == evaluate('fork', 0)
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_sclip_segment_imports_nothing_of_training():
    """A later import gets it."""
    _run("""
        from sclip_mmseg.cli import segment
        sys.argv[1:] = ['absent.png', '--classes', 'sky; sea', '--cfg-options', 'x.y=1']
        try:
            segment.main(sys.argv[1:])
        except SystemExit as stop:
            assert 'absent.png does not exist' in str(stop), stop
        skipped = 'transformers', 'torch.distributed.fsdp', 'torch.distributed.optim'
        skipped += 'scipy.optimize', 'scipy.ndimage', 'scipy.linalg', 'matplotlib', 'mmcv.ops'
        skipped += 'mmengine._strategy', 'mmseg.models.backbones', 'mmseg.models.decode_heads'
        assert 'mmseg' in sys.modules and not {*skipped} & {*sys.modules}
        from mmseg.models.backbones import ResNet
        from scipy.ndimage import label
        assert ResNet.__module__.startswith('mmseg') and label([1, 0, 1])[1] == 2
        from scipy.optimize import linear_sum_assignment
        from torch.distributed.fsdp import FullyShardedDataParallel
        assert linear_sum_assignment.__module__.startswith('scipy')
        assert FullyShardedDataParallel.__module__.startswith('torch')
    """)


def test_a_process_that_may_train_imports_all():
    assert 'mmengine' in sys.modules
    with compat.without_training():
        import scipy.optimize
    assert scipy.optimize.linear_sum_assignment([[1, 0], [0, 1]])
