"""`tools/test.py` as a user runs it."""

import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from exactness import REAL_TOWER
from helpers import (
    ROOT,
    call_tool,
    earlier_blocks_run_once,
    make_voc,
    metrics,
    run_test,
    run_tool,
)
from mmseg.datasets import PackSegInputs, PascalVOCDataset
from PIL import Image

from sclip_mmseg.datasets import distinct_palette
from sclip_mmseg.datasets.benchmarks import usual_benchmarks
from sclip_mmseg.visualization import draw_comparison

SMALL = ('model.test_cfg.crop_size=112', 'model.test_cfg.stride=56')


@pytest.fixture(scope='session')
def all_data(shared, tmp_path_factory):
    """The reference photographs, with the two benchmarks that are made from others."""
    root = tmp_path_factory.mktemp('datasets')
    for folder in ('VOCdevkit', 'ade', 'cityscapes', 'coco_stuff164k'):
        (root / folder).symlink_to(shared / 'data' / folder)
    run_tool(
        *(ROOT / 'tools/prepare_data.py', 'coco_object'),
        *('--raw', root / 'coco_stuff164k', '--data-root', root),
    )
    source = root / 'coco_stuff164k'
    for kind in ('images', 'annotations'):
        (root / 'coco_stuff10k' / kind / 'test2014').mkdir(parents=True)
    for image in (source / 'images/val2017').iterdir():
        (root / 'coco_stuff10k/images/test2014' / image.name).symlink_to(image)
        name = f'{image.stem}_labelTrainIds.png'
        label = np.array(Image.open(source / 'annotations/val2017' / name)).astype(int)
        shifted = np.where(label == 255, 0, label + 1).astype(np.uint8)
        Image.fromarray(shifted).save(root / 'coco_stuff10k/annotations/test2014' / name)
    return root


@pytest.mark.parametrize('benchmark', usual_benchmarks())
def test_every_benchmark(all_data, golden_clip, tmp_path, benchmark):
    output = run_test(
        f'sclip_vit-b16_{benchmark}',
        golden_clip,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'test_dataloader.dataset.indices=2',
        'model.text_head.templates=[{}]',
        data_root=all_data,
    ).stdout
    assert 0 <= metrics(output)['mIoU'] <= 100
    assert 'Iter(test) [2/2]' in output


# config, mIoU and aAcc of the authors' programs on the same weights and photographs
REAL = [
    ('sclip_vit-b16_ade20k', 9.96, 40.43),
    ('sclip_vit-b16_context59', 22.77, 57.10),
    ('clip_vit-b16_context59', 2.34, 16.59),
    ('scclip_vit-b16_context59', 37.02, 66.55),
]
REAL_SLOW = [
    ('sclip_vit-b16_voc20', 45.08, 73.34),
    ('sfp_vit-b16_context59', 33.62, 67.21),
    ('rfclip_vit-b16_context59', 31.63, 64.53),
    ('pearl_vit-b16_context59', 34.51, 61.97),
    ('sclip_vit-b16_voc21', 42.43, 78.59),
    ('sclip_vit-b16_context60', 23.57, 52.07),
    ('sclip-pamr10_vit-b16_voc20', 45.28, 74.85),
    ('clip_vit-b16_voc20', 25.40, 55.12),
    ('maskclip_vit-b16_voc20', 36.31, 67.46),
    ('clearclip_vit-b16_voc20', 51.67, 79.46),
    ('naclip_vit-b16_voc20', 46.66, 76.38),
    ('scclip_vit-b16_voc20', 59.29, 79.76),
    ('sfp_vit-b16_voc20', 52.06, 80.00),
    ('rfclip_vit-b16_voc20', 60.58, 79.16),
    ('pearl_vit-b16_voc20', 50.22, 81.95),
    ('resclip-naclip_vit-b16_voc20', 46.36, 73.82),
    ('resclip-sclip_vit-b16_voc20', 47.32, 71.57),
]


@pytest.fixture(scope='module')
def one_tower(real_clip):
    """The real tower, run once for all methods."""
    with earlier_blocks_run_once():
        yield real_clip


@pytest.mark.golden
@pytest.mark.parametrize(
    'config, miou, aacc',
    REAL + [pytest.param(*case, marks=pytest.mark.slow) for case in REAL_SLOW],
)
def test_real_clip_gives_the_authors_numbers(shared, one_tower, tmp_path, config, miou, aacc):
    benchmark = config.rpartition('_')[2]
    output = run_test(
        config,
        one_tower,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'model.text_head.embeddings={shared}/real_clip/text/{benchmark}.npz',
        data_root=shared / 'data',
    ).stdout
    assert metrics(output)['mIoU'] == pytest.approx(miou, abs=REAL_TOWER)
    assert metrics(output)['aAcc'] == pytest.approx(aacc, abs=REAL_TOWER)


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize(
    'benchmark, weight, miou, aacc',
    [
        ('voc20', -0.3, 37.71, 69.02),
        ('voc20', 0, 40.35, 71.70),
        ('context59', -0.3, 19.49, 60.25),
        ('context59', 0, 20.42, 60.81),
    ],
)
def test_segearth_without_its_upsampler(shared, one_tower, tmp_path, benchmark, weight, miou, aacc):
    """There is no config for photographs: the longer side is 448, without a threshold."""
    output = run_test(
        f'sclip_vit-b16_{benchmark}',
        one_tower,
        *('--work-dir', tmp_path, '--cfg-options'),
        f'model.text_head.embeddings={shared}/real_clip/text/{benchmark}.npz',
        'model.image_encoder.method.type=SegEarth',
        f'model.image_encoder.method.class_weight={weight}',
        *('model.test_cfg.logit_scale=50', 'model.test_cfg.pad_multiple=16'),
        'test_dataloader.dataset.pipeline.1.scale=448,448',
        data_root=shared / 'data',
    ).stdout
    assert metrics(output)['mIoU'] == pytest.approx(miou, abs=REAL_TOWER)
    assert metrics(output)['aAcc'] == pytest.approx(aacc, abs=REAL_TOWER)


def _run_voc(clip_path, voc_root, *arguments, config='sclip_vit-b16_voc21', options=(), **kwargs):
    return run_test(
        config,
        clip_path,
        '--work-dir',
        voc_root / 'work',
        *arguments,
        '--cfg-options',
        *SMALL,
        *options,
        data_root=voc_root,
        **kwargs,
    )


def test_a_small_folder_runs_without_warning(clip_path, tmp_path):
    root = make_voc(tmp_path / 'data', sizes=((90, 120), (130, 100)))
    output = _run_voc(clip_path, root, cwd=tmp_path, run=run_tool).stdout
    assert 'mIoU' in output
    assert 'Traceback' not in output
    warnings = [line for line in output.splitlines() if re.search(r'warn', line, re.I)]
    # mmengine's own remark on every IoUMetric.
    assert [line for line in warnings if 'The prefix is not set' not in line] == []


def test_images_and_label_maps_show_what_is_evaluated(clip_path, voc_root):
    out, show = voc_root / 'out', voc_root / 'show'
    output = _run_voc(clip_path, voc_root, '--out', out, '--show-dir', show).stdout
    voc = voc_root / 'VOCdevkit/VOC2012'
    right = total = 0
    for index in range(3):
        prediction = np.array(Image.open(out / f'image_{index}.png'))
        label = np.array(Image.open(voc / f'SegmentationClass/image_{index}.png'))
        right, total = right + (prediction == label).sum(), total + label.size
        [overlay] = show.glob(f'**/test_image_{index}.jpg_*.png')
        image = np.array(Image.open(voc / f'JPEGImages/image_{index}.jpg'))
        meta = PascalVOCDataset.METAINFO
        expected = draw_comparison(
            *(image, {'truth': label, 'prediction': prediction}, meta['classes']),
            distinct_palette(meta['classes']),
        )
        assert (np.array(Image.open(overlay).convert('RGB')) == expected).all()
    assert metrics(output)['aAcc'] == pytest.approx(100 * right / total, abs=0.005)


def test_test_time_augmentation(clip_path, voc_root):
    plain, augmented = (
        metrics(_run_voc(clip_path, voc_root, *flags).stdout) for flags in ((), ('--tta',))
    )
    assert plain != augmented
    assert augmented['aAcc'] == pytest.approx(plain['aAcc'], abs=20)


def test_two_processes_give_what_one_gives(clip_path, voc_root):
    alone = _run_voc(clip_path, voc_root).stdout
    command = [
        *('bash', ROOT / 'tools/dist_test.sh', ROOT / 'configs/sclip/sclip_vit-b16_voc21.py', 2),
        *(clip_path, '--work-dir', voc_root / 'work', '--cfg-options', *SMALL),
    ]
    env = {**os.environ, 'SCLIP_DATA_ROOT': str(voc_root), 'PORT': '29517'}
    env['PATH'] = f'{os.path.dirname(sys.executable)}:{env["PATH"]}'
    result = subprocess.run(
        list(map(str, command)),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:]
    assert metrics(result.stdout) == metrics(alone)
    table = re.compile(r'^\|.*\|$', re.M)
    assert table.findall(result.stdout) == table.findall(alone)


def test_extracted_embeddings_replace_the_text_tower(clip_path, voc_root, tmp_path):
    visual = tmp_path / 'visual.pt'
    weights = torch.load(clip_path)
    torch.save({k: v for k, v in weights.items() if k.startswith('visual.')}, visual)
    run_tool(
        ROOT / 'tools/extract_text_embeddings.py',
        ROOT / 'configs/sclip/sclip_vit-b16_voc21.py',
        tmp_path / 'text.npz',
        '--cfg-options',
        f'model.image_encoder.clip={clip_path}',
    )
    options = [f'model.text_head.embeddings={tmp_path}/text.npz']
    assert metrics(_run_voc(visual, voc_root, options=options).stdout) == metrics(
        _run_voc(clip_path, voc_root).stdout
    )


def test_help():
    output = call_tool(ROOT / 'tools/test.py', '--help').stdout
    flags = 'work-dir out show show-dir wait-time cfg-options launcher tta local_rank download-root'
    for flag in flags.split():
        assert f'--{flag}' in output


class BadInput:
    """Runs `tools/test.py` and returns the one line that it exits with."""

    def __init__(self, clip_path, root):
        self.clip_path, self.root = clip_path, root
        self.voc = root / 'VOCdevkit/VOC2012'

    def message(self, *options, clip=None, config='sclip/sclip_vit-b16_voc21.py'):
        path = ROOT / 'configs' / config
        flags = ('--work-dir', self.root / 'work', '--cfg-options', *SMALL, *options)
        result = run_test(path, clip or self.clip_path, *flags, data_root=self.root, check=False)
        message = result.stdout.splitlines()[-1]
        assert result.returncode == 1 and message.startswith('error: ')
        assert 'Traceback' not in result.stdout
        return message


@pytest.fixture
def bad(clip_path, voc_root):
    return BadInput(clip_path, voc_root)


def test_no_such_config(bad):
    assert 'nothing.py does not exist' in bad.message(config='nothing.py')


def test_unknown_clip(bad):
    assert "clip='ViT-B/17' is neither a file nor a CLIP by name" in bad.message(clip='ViT-B/17')


def test_bad_checkpoints(bad, tmp_path):
    assert 'absent.pt' in bad.message(clip=tmp_path / 'absent.pt')
    cut = tmp_path / 'cut.pt'
    with open(bad.clip_path, 'rb') as file:
        cut.write_bytes(file.read(1000))
    assert 'cut.pt cannot be read' in bad.message(clip=cut)
    foreign = tmp_path / 'foreign.pt'
    torch.save({'backbone.weight': torch.zeros(1)}, foreign)
    assert 'foreign.pt is not a CLIP' in bad.message(clip=foreign)


def test_missing_data_root(bad):
    bad.voc.rename(bad.root / 'elsewhere')
    message = bad.message()
    assert str(bad.voc) in message and 'SCLIP_DATA_ROOT' in message


def test_missing_split_file(bad):
    (bad.voc / 'ImageSets/Segmentation/val.txt').unlink()
    assert 'Segmentation/val.txt does not exist' in bad.message()


def test_empty_split(bad):
    (bad.voc / 'ImageSets/Segmentation/val.txt').write_text('')
    assert 'Segmentation/val.txt lists no image' in bad.message()


def test_empty_image_folder(bad, tmp_path):
    for folder in ('images/validation', 'annotations/validation'):
        (bad.root / 'ade/ADEChallengeData2016' / folder).mkdir(parents=True)
    message = bad.message(config='sclip/sclip_vit-b16_ade20k.py')
    assert 'images/validation lists no image' in message


def test_image_without_label(bad):
    (bad.voc / 'SegmentationClass/image_1.png').unlink()
    message = bad.message()
    assert 'image_1.png does not exist for image' in message and 'image_1.jpg' in message


def test_label_ids_outside_the_classes(bad):
    Image.new('L', (100, 130), 77).save(bad.voc / 'SegmentationClass/image_1.png')
    message = bad.message()
    assert 'image_1.png has label ids [77] outside the 21 classes' in message


@pytest.mark.parametrize('mode, size', [('L', (40, 50)), ('RGB', (100, 130))])
def test_label_of_another_size_or_kind(bad, mode, size):
    Image.new(mode, size).save(bad.voc / 'SegmentationClass/image_1.png')
    message = bad.message()
    assert 'image_1.png' in message and 'image_1.jpg' in message


def test_unreadable_label(bad):
    (bad.voc / 'SegmentationClass/image_1.png').write_text('no image')
    assert 'image_1.png cannot be read as a label' in bad.message()


def test_query_list_with_an_empty_query(bad, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('sky\ncat,\n')
    assert 'classes.txt: class 2' in bad.message(f'model.text_head.queries={path}')


def test_wrong_number_of_classes(bad, tmp_path):
    message = bad.message('model.text_head.queries=voc20')
    assert 'queries for 20 classes, PascalVOCDataset has 21' in message
    np.savez(tmp_path / 'two.npz', queries=['a', 'b'], class_ids=[0, 1], embeddings=np.eye(2, 32))
    message = bad.message(f'model.text_head.embeddings={tmp_path}/two.npz')
    assert 'queries for 2 classes, PascalVOCDataset has 21' in message


def test_threshold_without_background(bad):
    message = bad.message('model.test_cfg.prob_thd=0.1', config='sclip/sclip_vit-b16_voc20.py')
    assert "class 0 of PascalVOC20Dataset is 'aeroplane'" in message


@pytest.mark.parametrize(
    'options, part',
    [
        (['model.test_cfg.crop_size=8', 'model.test_cfg.stride=8'], 'smaller than a patch'),
        (['model.test_cfg.stride=113'], 'larger than crop_size'),
        (['model.test_cfg.crop_size=-3'], 'crop_size=-3 must be'),
    ],
)
def test_bad_windows(bad, options, part):
    assert part in bad.message(*options)


@pytest.mark.parametrize('workers', [0, 2])
def test_an_unreadable_image_in_the_middle_of_a_run(bad, workers, monkeypatch):
    monkeypatch.setattr('sclip_mmseg.evaluation.preparation.check_images', lambda dataset: None)
    (bad.voc / 'JPEGImages/image_1.jpg').write_bytes(b'no image')
    message = bad.message(f'test_dataloader.num_workers={workers}')
    assert 'image_1.jpg' in message and 'image_0.jpg' not in message
    assert '1 of 3 images are done: continue with --resume once the file is restored' in message


def _cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def _save_dark(path):
    _, data = cv2.imencode('.png', np.full((130, 100, 3), 4095, np.uint16))
    path.write_bytes(data)


@pytest.mark.parametrize(
    'damage, words',
    [
        (_cut, ''),
        (_save_dark, 'has 16 bits per value but only uses 12'),
        (lambda path: path.write_bytes(b''), 'cannot load'),
        (lambda path: path.write_text('<html></html>'), 'cannot load'),
    ],
)
def test_damaged_images_are_found_before_weights_are_read(bad, damage, words):
    damage(bad.voc / 'JPEGImages/image_1.jpg')
    cut = bad.root / 'weights.pt'
    cut.write_bytes(b'no weights')
    message = bad.message(clip=cut)
    assert words in message and 'image_1.jpg' in message


def test_thin_images_are_found_before_the_first_is_evaluated(bad):
    for folder, kind in ('JPEGImages', 'jpg'), ('SegmentationClass', 'png'):
        Image.new('L', (5000, 1)).save(bad.voc / folder / f'image_2.{kind}')
    message = bad.message()
    assert 'image_2.jpg is 5000×1 pixels, 2048×0 after resizing, smaller than a patch' in message
    assert not list((bad.root / 'work').glob('partial_results/*'))


def test_a_label_beyond_the_first_ones_is_checked_as_it_is_read(bad, monkeypatch):
    from sclip_mmseg.datasets import checks

    monkeypatch.setattr(checks, '_SAMPLED_LABELS', 1)
    Image.new('L', (100, 130), 77).save(bad.voc / 'SegmentationClass/image_1.png')
    assert 'image_1.png has label ids [77] outside' in bad.message()


def test_a_duplicate_query_is_warned_of_once(clip_path, voc_root, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('\n'.join(['same'] * 2 + [f'class {i}' for i in range(19)]))
    output = _run_voc(clip_path, voc_root, options=[f'model.text_head.queries={path}']).stdout
    assert "query 'same' stands for classes 0 ('same') and 1 ('same')" in output


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.image_encoder.tpye=X', "CLIPImageEncoder has no 'tpye' (did you mean 'type'?)"),
        ('model.test_cfg.prob_thr=0.1', "has no 'prob_thr' (did you mean 'prob_thd'?)"),
        ('test_dataloader.dataset.type=PascalVOCDatset', "(did you mean 'PascalVOCDataset'?)"),
        ('test_evaluater.type=IoUMetric', "(did you mean 'test_evaluator'?)"),
        ('model.image_encoder.clip.path=x', '--cfg-options do not fit'),
        ('test_dataloader.dataset.pipeline.9.scale=3', '--cfg-options do not fit'),
    ],
)
def test_a_misspelt_option(bad, option, message):
    assert message in bad.message(option)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_mistake_in_code_keeps_its_traceback(clip_path, voc_root, monkeypatch, workers):
    def mistaken(self, results):
        raise ValueError('a mistake in code')

    monkeypatch.setattr(PackSegInputs, 'transform', mistaken)
    option = f'test_dataloader.num_workers={workers}'
    result = _run_voc(clip_path, voc_root, options=[option], check=False)
    assert result.returncode == 1 and 'error: ' not in result.stdout
    [log] = (voc_root / 'work').glob('*/*.log')
    for text in (result.stdout, log.read_text()):
        assert 'in mistaken' in text
        assert text.strip().splitlines()[-1] == 'ValueError: a mistake in code'


def test_no_gpu_is_used_before_ranks_are_assigned(clip_path, voc_root, monkeypatch):
    taken = []

    class Reached(Exception):
        pass

    def refuse(*args):
        raise AssertionError('a CUDA context would be made on the first GPU')

    def init_process_group(backend, store, **kwargs):
        raise Reached(backend, str(kwargs['timeout']))

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, '_lazy_init', refuse)
    monkeypatch.setattr(torch._C, '_cuda_init', refuse, raising=False)
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    monkeypatch.setattr(torch.distributed, 'init_process_group', init_process_group)
    place = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    output = _run_voc(clip_path, voc_root, '--launcher', 'pytorch', check=False).stdout
    reached = "Reached: ('nccl', '7 days, 0:00:00')"
    assert taken == [0]
    assert output.strip().splitlines()[-1].endswith(reached), output
