"""`tools/train_projection.py` as a user runs it."""

import re
import shutil

import pytest
import torch
from helpers import ROOT, call_tool, config_path, load_config, metrics, run_test, run_tool
from torch import nn

from sclip_mmseg import projection
from sclip_mmseg.models.methods import LearnedCSA
from sclip_mmseg.projection import random_window, segmentation_loss, training_split

TOOL = ROOT / 'tools/train_projection.py'

CONFIG = config_path('ablation-learned_vit-b16_voc21')
# One window over the whole image, so that each epoch sees the same pixels.
WHOLE = 'model.test_cfg.mode=whole'
# Images and windows that take less time than the published ones.
SMALL = (
    'test_dataloader.dataset.pipeline.1.scale=(2048,112)',
    'model.test_cfg.crop_size=64',
    'model.test_cfg.stride=32',
)


@pytest.fixture
def train(monkeypatch, voc_root, clip_path):
    """Run the tool in this process; return what it printed on standard output."""
    folder = voc_root / 'VOCdevkit/VOC2012/ImageSets/Segmentation'
    shutil.copy(folder / 'val.txt', folder / 'train.txt')
    monkeypatch.setenv('SCLIP_DATA_ROOT', str(voc_root))

    def run(*arguments, config=CONFIG, options=(), wrong=False):
        argv = [config, clip_path, '--images=3', '--lr=1e-3', *arguments]
        argv += ['--cfg-options', *SMALL, *options]
        result = call_tool(TOOL, *argv, check=False)
        assert bool(result.returncode) == wrong, result.stdout
        return result.stdout

    return run


@pytest.fixture
def message(train):
    """Run the tool and return the message that it exits with."""

    def run(*arguments, **kwargs):
        [line] = re.findall('error: .*', train(*arguments, **kwargs, wrong=True))
        return line

    return run


def test_loss_decreases_and_the_projection_alone_changes(train, tmp_path, monkeypatch):
    models, build = [], projection.build_model

    def spy(cfg):
        models.append(build(cfg))
        models.append({key: value.clone() for key, value in models[0].state_dict().items()})
        return models[0]

    monkeypatch.setattr(projection, 'build_model', spy)
    out = tmp_path / 'new/w.pt'
    output = train('--epochs=4', f'--out={out}', options=[WHOLE])
    losses = [float(loss) for loss in re.findall(r'loss (\S+)', output)]
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    model, before = models
    after = model.state_dict()
    assert after.keys() == before.keys()
    changed = [key for key in after if not after[key].equal(before[key])]
    assert changed == ['image_encoder.method.weight']
    learned = torch.load(out, weights_only=True)['weight']
    assert learned.equal(after['image_encoder.method.weight'])
    assert learned.shape == (128, 128)


def test_a_resumed_training_equals_an_uninterrupted_one(train, tmp_path, monkeypatch):
    whole, resumed = tmp_path / 'whole.pt', tmp_path / 'resumed.pt'
    options = ['--epochs=3', '--batch-size=2']
    train(*options, f'--out={whole}')

    steps, step = [], torch.optim.AdamW.step

    def interrupted(optimizer, *args):
        steps.append(None)
        if len(steps) == 4:  # in the second epoch
            raise KeyboardInterrupt
        return step(optimizer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, 'step', interrupted)
        output = train(*options, f'--out={resumed}', wrong=True)
    assert output.splitlines()[-1] == 'interrupted: continue with --resume'
    assert not resumed.exists()
    output = train(*options, f'--out={resumed}', '--resume')
    assert re.findall(r'epoch (\d)', output) == ['2', '3']
    assert torch.load(resumed)['weight'].equal(torch.load(whole)['weight'])


def test_seeds_differ(train, tmp_path):
    for seed in (0, 1):
        train('--epochs=1', f'--seed={seed}', f'--out={tmp_path}/{seed}.pt')
    first, second = (torch.load(tmp_path / f'{seed}.pt')['weight'] for seed in (0, 1))
    assert not first.equal(second)


def test_the_projection_is_evaluated_by_path(train, tmp_path, voc_root, clip_path):
    out = tmp_path / 'w.pt'
    train('--epochs=1', f'--out={out}')
    output = run_test(
        'ablation-learned_vit-b16_voc21',
        clip_path,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        f'model.image_encoder.method.projection={out}',
        data_root=voc_root,
    ).stdout
    assert 0 <= metrics(output)['mIoU'] <= 100
    assert LearnedCSA(str(out)).weight.shape == (128, 128)


def test_the_default_file_is_what_the_config_reads():
    method = load_config('ablation-learned_vit-b16_voc21').model.image_encoder.method
    path = projection.output_path(None, method)
    assert path == ROOT / 'work_dirs/projections/vit-b16_voc21.pt'


@pytest.mark.parametrize(
    'benchmark, ann_file, folder',
    [
        ('voc21', 'ImageSets/Segmentation/train.txt', 'SegmentationClass'),
        ('context59', 'ImageSets/SegmentationContext/train.txt', 'SegmentationClassContext'),
        ('coco_stuff164k', '', 'annotations/train2017'),
        ('coco_stuff10k', '', 'annotations/train2014'),
        ('cityscapes', '', 'gtFine/train'),
        ('ade20k', '', 'annotations/training'),
    ],
)
def test_training_split(benchmark, ann_file, folder):
    cfg = load_config(f'sclip_vit-b16_{benchmark}')
    cfg.merge_from_dict(training_split(cfg.test_dataloader.dataset))
    assert cfg.test_dataloader.dataset.ann_file == ann_file
    assert cfg.test_dataloader.dataset.data_prefix.seg_map_path == folder


def test_loss_by_hand():
    # Two queries of class 0 and one of class 1; the last pixel has no label.
    cosines = torch.tensor([[0.1, 0.4, 0.9], [0.3, 0.2, 0.9], [0.2, 0.6, 0.9]])[:, None]
    labels = torch.tensor([[0, 1, 255]])
    logits = torch.tensor([[3.0, 2.0], [4.0, 6.0]])
    expected = nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    loss = segmentation_loss([cosines], [labels], [0, 0, 1], 10.0)
    torch.testing.assert_close(loss, expected)
    unlabelled = segmentation_loss([cosines], [torch.full((1, 3), 255)], [0, 0, 1], 10.0)
    assert unlabelled == 0


def test_random_windows_lie_in_the_image():
    generator = torch.Generator().manual_seed(0)
    windows = {random_window((10, 5), (4, 8), generator) for _ in range(200)}
    assert {window.top for window in windows} == set(range(7))
    assert {window.size for window in windows} == {(4, 5)}
    assert random_window((10, 5), None, generator) == (0, 0, 10, 5)


def test_bad_input(train, message, tmp_path, voc_root):
    out = f'--out={tmp_path}/w.pt'
    output = run_tool(TOOL, 'nothing.py', check=False).stdout
    assert output == 'error: config nothing.py does not exist\n'
    assert '--epochs 0 must be positive' in message('--epochs=0')
    assert 'give --out' in message(config=config_path('sclip_vit-b16_voc21'))
    assert 'is a folder' in message(f'--out={tmp_path}')
    assert 'has only 3' in message(out, '--images=4')
    assert '20' in message(out, options=['model.text_head.queries=voc20'])
    ann_file = 'test_dataloader.dataset.ann_file=absent.txt'
    assert 'absent.txt does not exist' in message(out, options=[ann_file])
    (tmp_path / 'w.checkpoint.pt').write_bytes(b'rubbish')
    assert 'is damaged or not a checkpoint' in message(out, '--resume')
    train(out, '--epochs=1')
    assert 'different lr' in message(out, '--resume', '--lr=1')
    train(out, '--epochs=2', '--resume')
    assert 'was trained for 2 epochs' in message(out, '--resume', '--epochs=1')
    assert 'smaller --lr' in message(out, '--lr=1e30')
    (voc_root / 'VOCdevkit/VOC2012/JPEGImages/image_1.jpg').write_bytes(b'rubbish')
    assert 'cannot load' in message(out)
