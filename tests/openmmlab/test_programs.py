"""Programs, processes and configs of OpenMMLab around a segmentor of this package."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest
import torch
from helpers import ROOT, build_model, load_config, metrics, run_test
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes

from sclip_mmseg import apis, run
from sclip_mmseg.utils import register_all_modules

CONFIG = 'sclip_vit-b16_voc20'
SCRIPT = """
import mmseg.apis
import multiprocessing
import sys
import beside


def add(x):
    return x + beside.ONE


if __name__ == '__main__':
    import pickle
    assert pickle.loads(pickle.dumps(add)) is add
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        print(sys.argv, pool.map(add, [1]))
"""
NEW_BASE = """
from sclip_mmseg.models import CLIPImageEncoder, CLIPSegmentor, CLIPTextHead
from sclip_mmseg.models import PadSegDataPreProcessor
from sclip_mmseg.models.methods.sclip import SCLIP

model = dict(
    type=CLIPSegmentor,
    data_preprocessor=dict(
        type=PadSegDataPreProcessor,
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        bgr_to_rgb=True,
    ),
    image_encoder=dict(type=CLIPImageEncoder, clip='CLIP', method=dict(type=SCLIP)),
    text_head=dict(type=CLIPTextHead, queries='voc20', templates='imagenet'),
    test_cfg=dict(mode='slide', crop_size=(224, 224), stride=(112, 112), logit_scale=40.0),
)
"""
NEW = """
from mmengine.config import read_base

with read_base():
    from .base import *

from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import DefaultSampler
from mmseg.datasets import LoadAnnotations, PackSegInputs
from mmseg.evaluation import IoUMetric
from sclip_mmseg.datasets import PascalVOC20Dataset
from sclip_mmseg.engine import InputCheckHook
from sclip_mmseg.evaluation import ResumableTestLoop
from sclip_mmseg.visualization import OverlayVisualizer

default_scope = 'mmseg'
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=(2048, 336), keep_ratio=True),
    dict(type=LoadAnnotations),
    dict(type=PackSegInputs),
]
test_dataloader = dict(
    batch_size=1,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=PascalVOC20Dataset,
        data_root='ROOT/VOCdevkit/VOC2012',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type=IoUMetric, iou_metrics=['mIoU'])
test_cfg = dict(type=ResumableTestLoop)
visualizer = dict(type=OverlayVisualizer, name='visualizer')
custom_hooks = [dict(type=InputCheckHook)]
"""


@pytest.fixture
def image(voc_root):
    return str(next(voc_root.rglob('*.jpg')))


def test_any_script_runs_after_the_package_s_import(tmp_path):
    (tmp_path / 'script.py').write_text(SCRIPT)
    (tmp_path / 'beside.py').write_text('ONE = 1\n')
    command = [sys.executable, '-m', 'sclip_mmseg.run', tmp_path / 'script.py', '--flag', 'x']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"['{tmp_path / 'script.py'}', '--flag', 'x'] [2]\n", done.stderr


@pytest.mark.parametrize('words, message', [([], 'usage: '), (['no.py'], 'script no.py does not')])
def test_without_a_script(monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, 'argv', ['run.py', *words])
    with pytest.raises(SystemExit) as stop:
        run.main({})
    assert stop.value.code not in (None, 0)
    assert message in capsys.readouterr().out + str(stop.value.code)


def test_names_and_palette_of_an_inferencer_are_the_model_s(clip_path, image, tmp_path):
    cfg = load_config('sclip_vit-b16_cityscapes', clip_path)
    cfg.model.text_head.queries = [[f'thing {i}'] for i in range(19)]  # as many as Cityscapes has
    # As mmseg's image_demo_with_inferencer.py calls it by default.
    inferencer = MMSegInferencer(cfg, dataset_name='cityscapes', device='cpu')
    inferencer(image, out_dir=str(tmp_path / 'out'))
    own = build_model(cfg).dataset_meta
    assert inferencer.visualizer.dataset_meta == own == inferencer.model.dataset_meta
    assert own['classes'][0] == 'thing 0' != get_classes('cityscapes')[0]


def test_classes_may_be_renamed_but_not_miscounted(clip_path):
    model = build_model(load_config(CONFIG, clip_path))
    renamed = dict(classes=tuple('abcdefghijklmnopqrst'), palette=[[0, 0, 0]] * 20)
    model.dataset_meta = renamed
    assert model.dataset_meta == renamed
    with pytest.raises(ValueError, match='names 2 classes, but the model has 20'):
        model.dataset_meta = dict(classes=('a', 'b'), palette=[[0, 0, 0]] * 2)


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet'])
def test_another_default_scope(clip_path, image, scope):
    cfg = load_config(CONFIG, clip_path)
    expected = inference_model(init_model(cfg, device='cpu'), image).pred_sem_seg.data
    with DefaultScope.overwrite_default_scope(scope):
        model = apis.build_segmentor('voc20', method='sclip', clip=clip_path, device='cpu')
        assert torch.from_numpy(apis.segment(model, image).labels).equal(expected[0])
        assert inference_model(model, image).pred_sem_seg.data.equal(expected)
        assert DefaultScope.get_current_instance().scope_name == scope


def _segment(path, image, results):
    model = torch.load(path, weights_only=False)
    results.put(apis.segment(model, image).labels.tolist())


def test_a_saved_model_works_in_another_process(clip_path, image, tmp_path):
    model = apis.build_segmentor('voc20', method='sclip', clip=clip_path, device='cpu')
    torch.save(model, tmp_path / 'model.pt')
    context = multiprocessing.get_context('spawn')
    results = context.Queue()
    process = context.Process(target=_segment, args=(tmp_path / 'model.pt', image, results))
    process.start()
    found = results.get(timeout=120)
    process.join()
    assert found == apis.segment(model, image).labels.tolist()


def test_all_modules_are_registered_as_openmmlab_s_packages_do():
    with DefaultScope.overwrite_default_scope('mmengine'), pytest.warns(UserWarning):
        register_all_modules()
        assert DefaultScope.get_current_instance().scope_name == 'mmseg'
    register_all_modules(init_default_scope=False)


def test_a_shipped_config_by_name(clip_path, image):
    options = {'model.image_encoder.clip': clip_path}
    name = f'sclip_mmseg::sclip/{CONFIG}.py'
    model = init_model(name, device='cpu', cfg_options=options)
    assert inference_model(model, image).pred_sem_seg.data.ndim == 3
    with pytest.raises(ValueError, match='config sclip_mmseg::no.py does not exist'):
        Config.fromfile('sclip_mmseg::no.py')


def test_a_base_of_mmseg_needs_no_pkg_resources(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    (tmp_path / 'mine.py').write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    assert Config.fromfile(tmp_path / 'mine.py').default_scope == 'mmseg'
    from mmengine.utils import get_installed_path, is_installed

    folder = str(Path(mmseg.__file__).parent)
    assert get_installed_path('mmseg') == get_installed_path('mmsegmentation') == folder
    assert is_installed('mmsegmentation') and not is_installed('no-such-package')


def test_new_style_configs(clip_path, voc_root, image, tmp_path):
    base, path = tmp_path / 'base.py', tmp_path / 'mine.py'
    base.write_text(NEW_BASE.replace("'CLIP'", repr(clip_path)))
    path.write_text(NEW.replace('ROOT', str(voc_root)))
    work = '--work-dir', tmp_path / 'work'
    named = run_test(CONFIG, clip_path, *work, data_root=voc_root).stdout
    assert metrics(run_test(path, *work).stdout) == metrics(named)
    new = inference_model(init_model(str(path), device='cpu'), image)
    old = inference_model(init_model(load_config(CONFIG, clip_path), device='cpu'), image)
    assert new.pred_sem_seg.data.equal(old.pred_sem_seg.data)


@pytest.fixture
def config_file(clip_path, voc_root, tmp_path):
    """A config whose CLIP and images are there, which programs without options can read."""
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = 'sclip_mmseg::sclip/{CONFIG}.py'\n"
        f'model = dict(image_encoder=dict(clip={clip_path!r}))\n'
        f"root = '{voc_root}/VOCdevkit/VOC2012'\n"
        'test_dataloader = dict(num_workers=0, dataset=dict(data_root=root))\n'
    )
    return path


def test_mmseg_s_benchmark_preprocesses_as_for_a_training(clip_path):
    preprocess = build_model(load_config(CONFIG, clip_path)).data_preprocessor
    images = [torch.randint(256, (3, 40, size), dtype=torch.uint8) for size in (50, 60)]
    for batch in ([images[0]], images):
        samples = [SegDataSample() for _ in batch]
        expected = preprocess(dict(inputs=batch, data_samples=samples))['inputs']
        data = dict(inputs=batch, data_samples=samples)
        assert preprocess(data, training=True)['inputs'].equal(expected)


def test_images_go_to_tensorboard(config_file, tmp_path):
    pytest.importorskip('torch.utils.tensorboard', reason='tensorboard is not installed')
    options = "visualizer.vis_backends=[{'type':'TensorboardVisBackend'}]"
    arguments = '--show-dir', tmp_path / 'show', '--work-dir', tmp_path / 'work'
    run_test(config_file, *arguments, '--cfg-options', options)
    assert list((tmp_path / 'work').rglob('events.out.*')) or list(tmp_path.rglob('events.out.*'))


def test_an_exported_encoder_runs_in_onnx_runtime(clip_path, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    model, images = build_model(load_config(CONFIG, clip_path)), torch.randn(1, 3, 64, 96)
    path = str(tmp_path / 'encoder.onnx')
    torch.onnx.export(model, (images,), path, input_names=['images'])
    [found] = runtime.InferenceSession(path).run(None, {'images': images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=0, atol=1e-4)
