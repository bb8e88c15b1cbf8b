import contextlib
import io
import os
import shutil
import sys

import numpy as np
import pytest
from helpers import ROOT, call_tool
from PIL import Image

sys.path.insert(0, str(ROOT / 'tools'))

from sclip_mmseg.cli import check_data


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the tool in this process and return its output, having compared its exit code."""

    def run(root, *arguments, wrong=True, partial=True):
        argv = [*arguments, '--nproc', 1, *(['--partial'] if partial else [])]
        monkeypatch.setenv('SCLIP_DATA_ROOT', str(root))
        with pytest.raises(SystemExit) as stop:
            check_data.main(list(map(str, argv)))
        output = capsys.readouterr().out
        assert bool(stop.value.code) == wrong, output
        return output

    return run


@pytest.fixture
def voc(voc_root):
    return voc_root / 'VOCdevkit/VOC2012'


def _make_pairs(root, images, labels, ids, suffixes, count=3):
    """Write images whose labels have the given ids; names start with a number."""
    for folder, suffix in zip((images, labels), suffixes):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            label = np.resize(np.array(ids, dtype=np.uint8), (40, 50))
            Image.fromarray(label).save(root / folder / f'{index}{suffix}')
    return root


def _make_ade(root, ids):
    folder = 'ade/ADEChallengeData2016'
    kinds = (f'{folder}/images/validation', f'{folder}/annotations/validation')
    return _make_pairs(root, *kinds, ids, ('.jpg', '.png'))


def _make_coco(root, name, ids, suffix, split='val2017'):
    kinds = (f'{name}/images/{split}', f'{name}/annotations/{split}')
    return _make_pairs(root, *kinds, ids, ('.jpg', suffix))


def test_a_good_dataset(voc_root, tmp_path, check):
    out = tmp_path / 'sheets'
    output = check(voc_root, 'voc21', 'voc20', '--out', out, '--classes', wrong=False)
    assert 'voc21: 3 images, 3 labels' in output
    assert 'note: 3 images, the published split has 1449' in output
    [line] = {line for line in output.splitlines() if line.endswith('  background')}
    background = sum(
        (np.array(Image.open(path)) == 0).sum()
        for path in (voc_root / 'VOCdevkit/VOC2012/SegmentationClass').iterdir()
    )
    assert int(line.split()[0].replace(',', '')) == background
    assert Image.open(out / 'voc20.png').width > 640


def test_another_number_of_images(voc_root, check):
    output = check(voc_root, 'voc21', partial=False)
    assert 'wrong: 3 images, the published split has 1449 (--partial accepts that)' in output


def test_missing_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('SCLIP_DATA_ROOT', '')  # which --data-root sets
    tool = (ROOT / 'tools/check_data.py', 'cityscapes', '--data-root', tmp_path)
    output = call_tool(*tool, check=False).stdout
    assert 'cityscapes: CityscapesDataset: folder' in output and 'SCLIP_DATA_ROOT' in output


def test_missing_and_unreadable_files(voc_root, voc, check):
    (voc / 'JPEGImages/image_0.jpg').unlink()
    (voc / 'JPEGImages/image_1.jpg').write_text('no image')
    (voc / 'SegmentationClass/image_2.png').write_text('')
    (voc / 'SegmentationClass/image_1.png').unlink()
    output = check(voc_root, 'voc21')
    assert '3 images, 2 labels' in output
    for part in (
        'image_0.jpg is missing',
        'image_1.jpg is missing or unreadable',
        'image_2.png is missing or',
        'image_1.png is missing or',
    ):
        assert part in output


@pytest.mark.parametrize('name', ['JPEGImages/image_1.jpg', 'SegmentationClass/image_1.png'])
def test_a_file_that_is_cut_off(voc_root, voc, check, name):
    content = (voc / name).read_bytes()
    (voc / name).write_bytes(content[: len(content) * 2 // 3])
    assert f'{name} is missing or unreadable' in check(voc_root, 'voc21')


def test_labels_without_an_image(tmp_path, check):
    root = _make_ade(tmp_path, [0, 3, 150])
    check(root, 'ade20k', wrong=False)
    (root / 'ade/ADEChallengeData2016/images/validation/1.jpg').unlink()
    output = check(root, 'ade20k')
    assert '2 images, 2 labels' in output and '1 labels have no image, the first is' in output


def test_sizes_differ(voc_root, voc, check):
    Image.new('L', (7, 5)).save(voc / 'SegmentationClass/image_1.png')
    assert 'image_1.png is 7×5 pixels, its image 100×130' in check(voc_root, 'voc21')


def test_coloured_label(voc_root, voc, check):
    Image.new('RGB', (100, 130)).save(voc / 'SegmentationClass/image_1.png')
    assert 'image_1.png is not a label map' in check(voc_root, 'voc21')


def test_labels_of_16_bits(voc_root, voc, check):
    path = voc / 'SegmentationClass/image_1.png'
    label = np.array(Image.open(path)).astype(np.uint16)
    Image.fromarray(label).save(path)
    check(voc_root, 'voc21', wrong=False)
    Image.fromarray(label + 256).save(path)
    assert 'image_1.png holds ids [2' in check(voc_root, 'voc21')
    Image.fromarray(label.astype(np.int32) + 70000).save(path.with_suffix('.tif'))
    path.with_suffix('.tif').rename(path)
    assert 'image_1.png holds ids [700' in check(voc_root, 'voc21')


def test_masks_instead_of_label_maps(voc_root, voc, check):
    _rewrite_labels(voc, lambda label: np.where(label > 10, 255, 0))
    assert 'hold nothing but 0 and 255' in check(voc_root, 'voc21')


def test_labels_without_a_pixel_to_evaluate(voc_root, voc, check):
    _rewrite_labels(voc, lambda label: np.full_like(label, 255))
    assert 'hold nothing but ignored pixels (255)' in check(voc_root, 'voc21')
    _rewrite_labels(voc, lambda label: np.where(label[::-1] % 2, 0, 255))
    _rewrite_labels(voc, lambda label: np.zeros_like(label))
    assert 'hold nothing but ignored pixels (0)' in check(voc_root, 'voc20')


@pytest.mark.parametrize('benchmark', ['voc21', 'voc20'])
def test_labels_without_background(voc_root, voc, check, benchmark):
    _rewrite_labels(voc, lambda label: label.clip(0, 19) + 1)
    assert 'labels never hold 0, the background' in check(voc_root, benchmark)


def _rewrite_labels(voc, change):
    for path in (voc / 'SegmentationClass').iterdir():
        label = np.array(Image.open(path))
        Image.fromarray(change(label).astype(np.uint8)).save(path)


@pytest.mark.parametrize('orientation', [2, 3, 4, 6])
def test_an_image_that_is_turned(voc_root, voc, check, orientation):
    path = voc / 'JPEGImages/image_1.jpg'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(path).save(path, exif=exif)
    assert f'image_1.jpg has EXIF orientation {orientation}' in check(voc_root, 'voc21')


def test_damaged_and_dark_images(voc_root, voc, check):
    noise = np.random.default_rng(0).integers(0, 256, (130, 100, 3), dtype=np.uint8)
    dark, damaged, longer = (voc / f'JPEGImages/image_{index}.jpg' for index in range(3))
    Image.fromarray(noise[:90, :, 0].astype(np.uint16) << 4).save(dark, 'PNG')
    Image.fromarray(noise).save(damaged)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:3000] + b'\xff\xd9' + content[3002:])
    Image.fromarray(noise[:100]).save(longer)
    content = longer.read_bytes()
    longer.write_bytes(content[:-2] + bytes(30) + content[-2:])
    output = check(voc_root, 'voc21')
    assert 'image_0.jpg has 16 bits per value but only uses 12' in output
    assert 'image_1.jpg contains damaged data (Corrupt JPEG data: premature' in output
    assert 'image_2.jpg contains damaged data (Corrupt JPEG data: ' in output


def test_only_regular_files_are_opened(voc_root, voc, check):
    for name in ('JPEGImages/image_1.jpg', 'SegmentationClass/image_2.png'):
        (voc / name).unlink()
        os.mkfifo(voc / name)
    output = check(voc_root, 'voc21')
    assert output.count('is missing or unreadable: it is not a file') == 2


def test_a_label_that_claims_to_be_huge(voc_root, voc, check, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 4000)
    assert 'image_1.png is missing or unreadable' in check(voc_root, 'voc21')


def test_raw_ids_of_cityscapes(tmp_path, check):
    kinds = ('cityscapes/leftImg8bit/val/a', 'cityscapes/gtFine/val/a')
    suffixes = ('_leftImg8bit.png', '_gtFine_labelTrainIds.png')
    _make_pairs(tmp_path, *kinds, [7, 8, 33], suffixes)
    output = check(tmp_path, 'cityscapes')
    assert 'labels hold ids [33] outside the 19 classes' in output and 'raw ids' in output


def test_raw_ids_of_coco_stuff(tmp_path, check):
    _make_coco(tmp_path, 'coco_stuff164k', [0, 91, 181, 255], '_labelTrainIds.png')
    output = check(tmp_path, 'coco_stuff164k')
    assert 'labels hold ids [181] outside the 171 classes' in output and 'raw ids' in output


def test_labels_of_coco_stuff_for_coco_object(tmp_path, check):
    _make_coco(tmp_path, 'coco_object', [0, 80, 170], '_labelTrainIds.png')
    output = check(tmp_path, 'coco_object')
    assert '3 images, 0 labels' in output
    assert 'such as 0_labelTrainIds.png' in output and 'such as 0_instanceTrainIds.png' in output
    shutil.rmtree(tmp_path / 'coco_object')
    _make_coco(tmp_path, 'coco_object', [0, 80, 170], '_instanceTrainIds.png')
    assert 'labels hold ids [170] outside the 81 classes' in check(tmp_path, 'coco_object')


def test_labels_reduced_already(tmp_path, check):
    root = _make_ade(tmp_path, [0, 3, 149, 255])
    assert 'look reduced already' in check(root, 'ade20k')


def test_labels_of_164k_for_10k_and_back(tmp_path, check):
    _make_coco(tmp_path, 'coco_stuff10k', [0, 170, 255], '_labelTrainIds.png', 'test2014')
    assert 'look reduced already' in check(tmp_path, 'coco_stuff10k')
    _make_coco(tmp_path, 'coco_stuff164k', [0, 1, 171], '_labelTrainIds.png')
    assert 'need reduce_zero_label=True' in check(tmp_path, 'coco_stuff164k')


@pytest.mark.parametrize('benchmark', ['voc21', 'voc20'])
def test_background_that_became_ignored(voc_root, voc, check, benchmark):
    for path in (voc / 'SegmentationClass').iterdir():
        labels = np.array(Image.open(path)) % 20
        labels[::2] = 255
        Image.fromarray(labels.clip(1)).save(path)
    assert 'look reduced already, background as 255' in check(voc_root, benchmark)


def test_labels_that_need_reducing(voc_root, voc, check):
    labels = np.resize(np.arange(22, dtype=np.uint8), (130, 100))
    Image.fromarray(labels).save(voc / 'SegmentationClass/image_1.png')
    assert 'need reduce_zero_label=True' in check(voc_root, 'voc21')


def test_the_reference_photographs(shared, check):
    names = ('voc21', 'voc20', 'context60', 'context59', 'cityscapes', 'ade20k')
    output = check(shared / 'data', *names, 'coco_stuff164k', '--limit', 3, wrong=False)
    assert 'note: 4 images, the published split has 5104 or 5105' in output


def _make_own(root, ids=(0, 1, 1, 255)):
    for folder in ('images', 'labels'):
        (root / folder).mkdir()
        for index in range(3):
            label = np.resize(np.array(ids, dtype=np.uint8), (4, 4))
            Image.fromarray(label).save(root / folder / f'{index}.png')
    return ('--images', root / 'images', '--labels', root / 'labels', '--classes')


def test_own_folders(tmp_path, check):
    words = _make_own(tmp_path)
    output = check(tmp_path, *words, 'cat; dog', '--out', tmp_path / 'sheets', wrong=False)
    assert 'images: 3 images with labels' in output
    assert '2 of 2 classes occur' in output and '24  66.67 %  dog' in output
    assert (tmp_path / 'sheets/images.png').is_file()
    (tmp_path / 'labels/1.png').unlink()
    lines = check(tmp_path, *words, '5: cat; 1: dog').splitlines()
    advice = ': add it to the classes or to --ignore'
    assert lines[1:4] == [
        f'  wrong: image {tmp_path}/images/1.png has no label',
        f'  wrong: label {tmp_path}/labels/0.png has id 0 without a class{advice}',
        f'  wrong: label {tmp_path}/labels/2.png has id 0 without a class{advice}',
    ]


def test_a_custom_config(tmp_path, voc_root, check):
    _make_own(tmp_path)
    prefix = dict(img_path=f'{tmp_path}/images', seg_map_path=f'{tmp_path}/labels')
    dataset = dict(type='FolderDataset', classes='cat; dog', data_prefix=prefix)
    (tmp_path / 'mine.py').write_text(f'test_dataloader = dict(dataset={dataset})')
    assert 'mine: 3 images with labels' in check(voc_root, tmp_path / 'mine.py', wrong=False)
    base = ROOT / 'configs/sclip/sclip_vit-b16_voc21.py'
    (tmp_path / 'other.py').write_text(f'_base_ = {str(base)!r}')
    assert 'other: 3 images, 3 labels' in check(voc_root, tmp_path / 'other.py', wrong=False)
    assert 'config absent.py does not exist' in _error(check, 'absent.py')
    assert "there is no benchmark 'voc2' (did you mean 'voc21'?)" in _error(check, 'voc2')
    assert 'name benchmarks or configs, or folders' in _error(check)
    said = _error(check, tmp_path / 'images', tmp_path / 'labels')
    assert f"'{tmp_path}/images' is a folder: name your own by --images and --labels" in said


def _error(check, *arguments):
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stderr(io.StringIO()) as said:
        check_data.main([*map(str, arguments)])
    return f'{said.getvalue()}{stop.value.code}'
