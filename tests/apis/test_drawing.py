"""What is drawn over images."""

import warnings
from itertools import product
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from helpers import load_config
from mmengine.structures import PixelData
from mmseg.datasets import PascalContextDataset
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from sclip_mmseg import InputError, apis
from sclip_mmseg.apis.media import write_overlay
from sclip_mmseg.datasets import bright_palette
from sclip_mmseg.visualization import draw_comparison, fonts
from sclip_mmseg.visualization.names import Box, font_size, place_names
from sclip_mmseg.visualization.painting import outline_width

NAMES = ['sky', 'cat', 'dog']
PALETTE = [[0, 0, 240], [9, 90, 9], [200, 0, 0]]


def halves(height, width):
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 2 :] = 2
    return labels


def gray(height, width, value=100):
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.mark.parametrize('size', [(60, 40), (700, 900), (1500, 2000)])
@pytest.mark.parametrize('value', [0, 100, 255])
def test_outlines_run_along_borders_only(size, value):
    image, labels = gray(*size, value), halves(*size)
    drawn = apis.draw_classes(image, labels, NAMES, PALETTE, names=False)
    border, reach = size[1] // 2, 2 * outline_width(size) + 1
    paint = (image + np.array(PALETTE)[labels].astype(float)) / 2
    far = np.abs(np.arange(size[1]) - border + 0.5) > reach
    assert np.abs(drawn - paint)[:, far].max() <= 0.5
    line = drawn[5, border - reach : border + reach].astype(int)
    assert (line == 255).all(1).sum() == outline_width(size)
    # Light beside dark, whatever the image.
    assert 255 * 3 - line.sum(1).min() > 300


def test_outlines_grow_with_the_image():
    assert [outline_width(size) for size in ((100, 100), (375, 500), (3000, 4000))] == [1, 1, 6]


def test_specks_are_not_hidden_by_outlines():
    labels = np.zeros((60, 60), dtype=int)
    labels[30, 30] = 2
    drawn = apis.draw_classes(gray(60, 60), labels, NAMES, PALETTE)
    assert drawn[30, 30].tolist() == [150, 50, 50]
    assert (drawn[25:36, 25:36] < 255).any(-1).all()


@pytest.mark.parametrize('ignored', [255, -1, 3])
def test_other_labels_than_class_and_background_are_unchanged(ignored):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    labels = np.full((90, 120), ignored)
    labels[:, 40:80], labels[:, 80:] = 0, 1
    drawn = apis.draw_classes(image, labels, ['background', 'cat', 'dog'], PALETTE)
    assert (drawn[:, :36] == image[:, :36]).all()
    assert (drawn[:, 44:76] == image[:, 44:76]).all()
    assert (drawn[:, 84:] != image[:, 84:]).any(-1).mean() > 0.9


def test_the_legend_has_what_occurs_the_largest_first():
    image, labels = gray(90, 120), halves(90, 120)
    labels[:, :10] = 255
    drawn = apis.draw_overlay(image, labels, NAMES, PALETTE)
    assert (drawn[:, :120] == apis.draw_classes(image, labels, NAMES, PALETTE)).all()
    legend = apis.draw_legend(['dog', 'sky'], [PALETTE[2], PALETTE[0]], font_size((90, 120)))
    assert (drawn[: len(legend), 120:] == legend).all()
    assert (drawn[len(legend) :, 120:] == 255).all()


def test_a_long_legend_has_columns():
    names = [f'class {index}' for index in range(40)]
    labels = np.arange(40).repeat(200).reshape(80, 100)
    drawn = apis.draw_overlay(gray(80, 100), labels, names, bright_palette(40))
    low = apis.draw_legend(names, bright_palette(40), height=200)
    assert len(low) <= 200 < len(apis.draw_legend(names, bright_palette(40)))
    for color in bright_palette(40):
        assert (drawn[:, 100:] == color).all(-1).any()


def test_a_legend_inside_keeps_the_size():
    labels = np.zeros((60, 90), dtype=int)
    labels[50:] = 1
    drawn = apis.draw_overlay(gray(60, 90), labels, ['sky', 'cat'], PALETTE, legend='inside')
    assert drawn.shape == (60, 90, 3)
    assert drawn[58, 80].tolist() == [54, 95, 54]
    assert drawn[:40, :30].min(-1).max() > 200  # the legend's paper
    many = apis.draw_overlay(gray(9, 9), labels[-9:, :9], ['x', 'y' * 99], PALETTE, legend='inside')
    assert many.shape == (9, 9, 3)


def test_legends_have_no_class_that_rounds_to_nothing():
    labels = np.zeros((100, 100), dtype=int)
    labels[0, :4] = 1  # 0.04 %
    labels[1, :5] = 2  # 0.05 %, which is printed as 0.1 %
    names, palette = ['sky', 'cat', 'dog'], bright_palette(3)
    drawn = apis.draw_overlay(gray(100, 100), labels, names, palette)[:, 100:]
    assert [(drawn == color).all(-1).any() for color in palette] == [True, False, True]


def test_a_legend_below():
    labels = halves(60, 200)
    many = [f'class {number}' for number in range(30)]
    few = apis.draw_overlay(gray(60, 200), labels, NAMES, PALETTE, legend='below')
    assert (few[:60] == apis.draw_classes(gray(60, 200), labels, NAMES, PALETTE)).all()
    assert few.shape[1] == 200 and 70 < few.shape[0] < 100  # a line
    for color in np.unique(labels):
        assert (few[60:] == PALETTE[color]).all(-1).any()
    labels = np.arange(60 * 200).reshape(60, 200) % 30
    drawn = apis.draw_overlay(
        gray(60, 200), labels, many, bright_palette(30), alpha=0, legend='below', names=False
    )
    assert drawn.shape[1] == 200
    assert all((drawn[60:] == color).all(-1).any() for color in bright_palette(30))


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (40, 1), (2, 3), (12, 300), (100, 75)])
def test_any_size(size):
    labels = np.arange(size[0] * size[1]).reshape(size) % 7
    names = ['a cat', 'é', 'background', 'x' * 50, '', 'a', 'b']
    image = gray(*size)
    for legend in ('beside', 'below', 'inside', 'none'):
        drawn = apis.draw_overlay(image, labels, names, bright_palette(7), legend=legend)
        assert drawn.dtype == np.uint8 and drawn.shape[0] >= size[0]
        if legend in ('inside', 'none'):
            assert drawn.shape == image.shape
        elif legend == 'beside':
            assert drawn.shape[1] > size[1]
        else:
            assert drawn.shape[0] > size[0]
    assert (image == 100).all()


def test_more_classes_than_bytes_tell_apart():
    names = [f'class {index}' for index in range(700)]
    labels = halves(60, 80) * 300
    drawn = apis.draw_classes(
        gray(60, 80), labels, names, [[index % 256] * 3 for index in range(700)]
    )
    assert drawn[0, 70].tolist() == [(100 + 600 % 256 + 1) // 2] * 3
    assert drawn[0, 5].tolist() == [50] * 3


def test_a_name_stands_in_its_largest_area():
    labels = np.zeros((120, 400), dtype=np.uint8)
    labels[40:80, 20:90] = 1
    labels[10:110, 200:350] = 1
    labels[3:5, 3:5] = 2
    boxes = place_names(labels, {0: (40, 14), 1: (40, 14), 2: (40, 14)})
    assert set(boxes) == {0, 1}  # of the third there is too little
    left, top, right, bottom = boxes[1]
    assert 200 <= left < right <= 350 and 10 <= top < bottom <= 110


@pytest.mark.parametrize('seed', range(8))
def test_names_stay_inside_and_apart(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 900, 2)
    blocks = rng.integers(0, 9, (5, 6), dtype=np.uint8)
    ids = np.array(Image.fromarray(blocks).resize((width, height), Image.NEAREST))
    sizes = {index: (int(rng.integers(5, 150)), int(rng.integers(5, 40))) for index in range(9)}
    boxes = place_names(ids, sizes)
    assert boxes or min(height, width) < 100
    for index, box in boxes.items():
        assert box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height
        assert (box.right - box.left, box.bottom - box.top) == sizes[index]
        assert not any(box.overlaps(other) for key, other in boxes.items() if key != index)
    assert Box(0, 0, 2, 2).overlaps(Box(1, 1, 3, 3)) and not Box(0, 0, 2, 2).overlaps(
        Box(2, 0, 3, 2)
    )


def drawn_text(text):
    sheet = Image.new('RGB', (200, 40), 'white')
    fonts.draw_text(sheet, (5, 5), text, 16, (0, 0, 0))
    return np.asarray(sheet)


@pytest.fixture
def without_system_fonts():
    """Only the package's own font; a test adds others as the mock's return value."""
    caches = fonts.find_font, fonts._warn_of_missing
    for cache in caches:
        cache.cache_clear()
    with mock.patch.object(fonts, '_system_fonts', return_value=[]) as system:
        yield system
    for cache in caches:
        cache.cache_clear()


def test_accents_and_cyrillic_need_no_font_of_the_machine(without_system_fonts):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert (drawn_text('café') == drawn_text('cafe\u0301')).all()  # one letter, or two
        assert (drawn_text('café') != drawn_text('cafe')).any()
        assert (drawn_text('кошка') != drawn_text('?????')).any()


def test_characters_without_a_font_are_reported(without_system_fonts):
    with pytest.warns(UserWarning, match='characters 猫犬 of .*fonts-noto-cjk') as caught:
        drawn = drawn_text('a 猫 犬猫')
        drawn_text('a 猫 犬猫')
    assert len(caught) == 1
    assert (drawn == drawn_text('a ? ??')).all()


def test_glyphs_of_another_font(without_system_fonts, tmp_path):
    box = TTGlyphPen(None)
    for step, point in enumerate([(0, 0), (0, 1000), (1000, 1000), (1000, 0)]):
        (box.lineTo if step else box.moveTo)(point)
    box.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(['.notdef', 'cat'])
    font.setupCharacterMap({ord('猫'): 'cat'})
    square = box.glyph()
    font.setupGlyf({'.notdef': square, 'cat': square})
    font.setupHorizontalMetrics({'.notdef': (1000, 0), 'cat': (1000, 0)})
    font.setupHorizontalHeader(ascent=1000, descent=0)
    font.setupNameTable({'familyName': 'Cats', 'styleName': 'Regular'})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / 'cats.ttf')
    (tmp_path / 'damaged.ttf').write_bytes(b'no font')
    without_system_fonts.return_value = [
        str(tmp_path / name) for name in ('damaged.ttf', 'cats.ttf')
    ]
    drawn, plain = drawn_text('a猫'), drawn_text('a')
    start = 5 + fonts.text_size('a', 16)[0]
    assert (drawn[:, : start - 1] == plain[:, : start - 1]).all()
    assert (drawn[:, start : start + 15].min(0) == 0).all()  # the whole square
    assert fonts.text_size('a猫', 16)[0] - fonts.text_size('a', 16)[0] in (15, 16, 17)
    with pytest.warns(UserWarning, match='犬'):
        drawn_text('犬')


def test_overlays_are_jpeg(tmp_path):
    rng = np.random.default_rng(0)
    image = np.array(
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((400, 300))
    )
    path = write_overlay(tmp_path / 'a.b', image)
    assert path == tmp_path / 'a.b_overlay.jpg'
    with Image.open(path) as written:
        assert written.format == 'JPEG'
        assert np.abs(np.asarray(written).astype(int) - image).mean() < 3
    wide = write_overlay(tmp_path / 'wide', gray(1, 70000))
    assert wide.suffix == '.png' and Image.open(wide).size == (70000, 1)


def test_bright_colours_are_distinct():
    palette = bright_palette(200)
    assert palette[:50] == bright_palette(50)
    assert len(set(map(tuple, palette))) == 200
    assert min(map(max, palette)) >= 120
    near = [np.abs(np.subtract(a, b)).max() for a in palette[:20] for b in palette[:20] if a != b]
    assert min(near) > 40
    assert len(bright_palette(2000)) == 2000


@pytest.mark.parametrize('count, least', [(21, 15), (60, 11), (81, 9.5), (171, 7)])
def test_no_two_colours_look_alike(count, least):
    """Differences are CIEDE2000, in which 2 is just noticeable."""
    lab = rgb2lab(np.array(bright_palette(count))[None] / 255)
    distances = deltaE_ciede2000(lab.swapaxes(0, 1), lab)
    assert distances[~np.eye(count, dtype=bool)].min() > least


def test_each_colour_is_the_furthest_from_those_before_it():
    """Among bright colours with levels in steps of 15; the first were chosen by eye."""
    levels = product(range(0, 256, 15), repeat=3)
    grid = [color for color in levels if max(color) > 120 and max(color) - min(color) > 60]
    colors = np.array([*bright_palette(14), *grid], np.uint8)
    lab = cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    nearest = np.min([deltaE_ciede2000(lab, lab[:, [index]])[0] for index in range(14)], axis=0)
    for color in bright_palette(60)[14:]:
        index = nearest.argmax()
        assert colors[index].tolist() == color
        nearest = np.minimum(nearest, deltaE_ciede2000(lab, lab[:, [index]])[0])


def test_the_palette_of_benchmarks_is_an_option(visualizer):
    names = PascalContextDataset.METAINFO['classes']
    visualizer.dataset_meta = PascalContextDataset.METAINFO
    drawn = []
    for palette in ('distinct', 'dataset'):
        visualizer.palette = palette
        for name in ('grass', 'person'):
            pair = sample(pred_sem_seg=np.full((80, 80), names.index(name)))
            visualizer.add_datasample('x', gray(80, 80), pair, with_labels=False)
            drawn.append(visualizer.get_image()[60, 40].astype(int))
    assert np.abs(drawn[0] - drawn[1]).max() > 40
    assert np.abs(drawn[2] - drawn[3]).max() < 10  # the same violet
    with pytest.raises(
        InputError, match="visualizer.palette='vivid': use one of distinct, dataset"
    ):
        VISUALIZERS.build(dict(type='OverlayVisualizer', name='vivid', palette='vivid'))


@pytest.fixture
def visualizer(tmp_path):
    config = dict(load_config('sclip_vit-b16_voc21').visualizer, name=tmp_path.name)
    visualizer = VISUALIZERS.build(dict(config, save_dir=str(tmp_path)))
    visualizer.dataset_meta = dict(classes=NAMES, palette=PALETTE)
    visualizer.palette = 'dataset'
    return visualizer


def sample(**maps):
    data = {key: PixelData(data=torch.as_tensor(labels)[None]) for key, labels in maps.items()}
    result = SegDataSample()
    for key, value in data.items():
        setattr(result, key, value)
    return result


def test_show_dir_draws_as_everything_else(visualizer, tmp_path):
    image, truth = gray(90, 120), halves(90, 120)
    prediction = np.roll(truth, 20, axis=1)
    both = sample(gt_sem_seg=truth, pred_sem_seg=prediction)
    visualizer.add_datasample('x', image, both)
    [written] = tmp_path.glob('**/x_0.png')
    drawn = np.asarray(Image.open(written))
    assert (
        drawn == draw_comparison(image, {'truth': truth, 'prediction': prediction}, NAMES, PALETTE)
    ).all()
    head = len(drawn) - 90
    assert (drawn[head:, :120] == apis.draw_classes(image, truth, NAMES, PALETTE)).all()
    assert (drawn[head:, 126:246] == apis.draw_classes(image, prediction, NAMES, PALETTE)).all()
    assert visualizer.get_image().shape == drawn.shape


@pytest.mark.parametrize('flags, titles', [({}, ['prediction']), (dict(draw_pred=False), [])])
def test_the_visualizer_takes_mmsegs_arguments(visualizer, tmp_path, flags, titles):
    image, labels = gray(90, 120), halves(90, 120)
    out = tmp_path / 'one.png'
    only = sample(pred_sem_seg=labels)
    visualizer.add_datasample('x', image, only, out_file=str(out), with_labels=False, **flags)
    expected = image
    if titles:
        expected = draw_comparison(image, {'prediction': labels}, NAMES, PALETTE, names=False)
    assert (np.asarray(Image.open(out)) == expected).all()
