"""The report is one offline file, escapes names, and is shown by a browser."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers import chromium, config_path, load_config, make_voc
from test_compare import _save
from test_statistics import make

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import Result, evaluate
from sclip_mmseg.evaluation.compare import compare
from sclip_mmseg.evaluation.comparison import Comparison
from sclip_mmseg.evaluation.report import write_report
from sclip_mmseg.evaluation.result_images import ResultImages, find_images

EVIL = '<script>alert("1")</script>&\'"'
FLAGS = '--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage'.split()


def _evil(result):
    """The same result, with markup in its names."""
    names = [f'{name}{EVIL}' for name in result.class_names]
    images = [f'{name}{EVIL}' for name in result.images]
    counts = [result.counts(i) for i in range(len(images))]
    about = dict(
        fingerprint={f'model.{EVIL}': EVIL, 'model.text_head.queries.0': [EVIL]},
        meta=dict(method=EVIL, queries=EVIL, weights=EVIL, seconds_per_image=0.5),
    )
    return Result.from_counts(images, counts, names, **about)


def _drawn(names):
    """Images of one colour, with labels and predictions."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    maps = {name: rng.integers(0, 4, (30, 40)) for name in names}
    reads = {name: lambda _, ids=ids: ids for name, ids in maps.items()}
    palette = [[10 * i, 0, 0] for i in range(5)]
    truth = np.where(maps[names[0]] == 3, 255, maps[names[0]])
    return ResultImages(lambda _: image, lambda _: truth, reads, palette)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """A page on three results with evil names and images."""
    path = tmp_path_factory.mktemp('report') / 'report.html'
    rights = {f'{key}{EVIL}': right for key, right in zip('abc', (0.9, 0.6, 0.6))}
    results = {
        key: _evil(make(i, 30, right=right)) for i, (key, right) in enumerate(rights.items())
    }
    images = _drawn(list(results))
    write_report(Comparison.of(results), path, images=images, title=EVIL, note=EVIL)
    return path


def test_names_are_escaped_and_nothing_is_fetched(page):
    text = page.read_text(encoding='utf-8')
    assert text.count('<script>') == 1 and 'alert(&quot;1&quot;)' in text
    assert '&amp;' in text and '$' not in text
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]{0,12})', text)
    assert sources and all(source.startswith('data:image/') for source in sources)
    fetched = re.findall(r'https?://[^"\s<]+', text)
    assert {*fetched} == {'http://www.w3.org/2000/svg'}


def test_a_single_result_and_few_images(tmp_path):
    write_report(Comparison.of({'x': make(1, 2)}), tmp_path / 'x.html')
    text = (tmp_path / 'x.html').read_text()
    assert 'fewer than 20 images' in text and '<h2>Differences' not in text
    assert '2 images, 5 classes' in text
    text = re.sub(r'\s+', ' ', text)
    assert re.search(r'<div>never</div>.{,80}<span title="– to –"></span>', text)


def test_differences_are_named(tmp_path):
    a, b = make(1, 30), make(2, 30)
    other = dict(
        **{'model.text_head.queries.0': ['sky'], 'model.image_encoder.clip': 'SHA-256 0'},
        **{'model.test_cfg.logit_scale': 40.0, 'images': '30 images'},
    )
    results = {
        'a': Result(**{**vars_of(a), 'fingerprint': {**other, 'model.test_cfg.logit_scale': 50.0}}),
        'b': Result(**{**vars_of(b), 'fingerprint': other}),
    }
    write_report(Comparison.of(results), tmp_path / 'x.html')
    text = (tmp_path / 'x.html').read_text()
    assert 'They differ in protocol.' in text
    assert 'model.test_cfg.logit_scale was 50.0, is 40.0' in text


def test_boundaries_that_not_all_have(tmp_path):
    counted = {'boundary': np.zeros((5, 0), int)}
    results = {key: replace(make(1, 30), **counted) for key in 'ab'}
    write_report(Comparison.of({**results, 'c': make(1, 30)}), tmp_path / 'x.html')
    text = (tmp_path / 'x.html').read_text()
    assert 'mBIoU / %' in text and 'a − c' in text  # whose cell is empty


def vars_of(result):
    names = ('images', 'class_names', 'image_ptr', 'label', 'prediction', 'pixels')
    return {name: getattr(result, name) for name in names}


def test_images_are_chosen_by_their_scores():
    names, classes = [*'pqrs'], ['x', 'y']
    share = {'a': [90, 50, 30, 100], 'b': [10, 50, 60, 40]}
    results = {
        key: Result.from_counts(
            names, [np.array([[0, 0], [0, 1], [max(v, 1), 100 - v + 1]]) for v in values], classes
        )
        for key, values in share.items()
    }
    comparison = Comparison.of(results)
    found = {
        heading: ''.join(names[place] for place in places)
        for heading, places in comparison.choose_images().items()
    }
    assert found == {
        'a gains most over b': 'ps',
        'a loses most to b': 'r',
        'Best of a': 'spqr',
        'Worst of a': 'rqps',
        'Best of b': 'rqsp',
        'Worst of b': 'psqr',
    }


@pytest.fixture
def work(clip_path, tmp_path):
    """The work directory of an evaluation with label maps and oracles."""
    root = make_voc(tmp_path / 'data', sizes=[(40, 60), (60, 40), (64, 64)])
    small = {'model.test_cfg.crop_size': 64, 'model.test_cfg.stride': 64}
    cfg = load_config('sclip_vit-b16_voc20', clip_path, **small)
    cfg.test_dataloader.dataset.data_root = str(root / 'VOCdevkit/VOC2012')
    cfg.test_dataloader.num_workers = 0
    work, labels = tmp_path / 'work', tmp_path / 'work/labels'
    data = cfg.test_dataloader.dataset.data_root
    evaluate(cfg, work_dir=work, out=labels, oracles=True)
    (work / 'sclip_vit-b16_voc20.py').write_text(  # which tests/conftest.py leaves empty
        f'_base_ = {str(config_path("sclip_vit-b16_voc20"))!r}\n'
        f'test_dataloader = dict(dataset=dict(data_root={data!r}))\n'
        f'test_evaluator = dict(output_dir={str(labels)!r})\n'
    )
    return tmp_path / 'work'


def test_images_are_found_by_the_config(work, tmp_path):
    """Labels start at 1; classes and counts are compared pixel by pixel."""
    result = Result.load(work / 'result.npz')
    images = find_images({'x': result}, {'x': work})
    for index, name in enumerate(result.images):
        label, prediction = images.label(name), images.predictions['x'](name)
        counted = label < 20
        pairs = np.unique(label[counted] * 100 + prediction[counted], return_counts=True)
        expected = result.counts(index)
        np.testing.assert_array_equal(pairs[0], expected[0] * 100 + expected[1])
        np.testing.assert_array_equal(pairs[1], expected[2])
        assert images.image(name).shape == (*label.shape, 3)
    lines = compare([work], tmp_path / 'out')
    assert any(line.startswith('If work knew the classes of each image: ') for line in lines)
    assert any(line.startswith('If each region had the best of all classes: ') for line in lines)
    assert {path.name for path in (tmp_path / 'out').glob('*.jpg')} == {
        'Best_of_work.jpg',
        'Worst_of_work.jpg',
    }
    text = (tmp_path / 'out/report.html').read_text()
    assert text.count('data:image/jpeg') == 3 * 3 and 'Oracles: known classes' in text


def test_without_images_a_line_says_why(work, tmp_path):
    shutil.move(tmp_path / 'data', tmp_path / 'elsewhere')
    lines = compare([work], tmp_path / 'out')
    assert any(line.startswith('without images: no images to show: ') for line in lines)
    assert not list((tmp_path / 'out').glob('*.jpg'))
    other = _save(tmp_path / 'other', make(1, 3))
    with pytest.raises(InputError, match='other has no config'):
        find_images({'x': make(1, 3)}, {'x': other})


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium."""
    with chromium(tmp_path / 'profile', FLAGS, {'browser': 'ALL'}) as chrome:
        yield chrome


@pytest.mark.slow
def test_a_browser_shows_the_page(browser, page):
    browser.get(page.as_uri())
    for width in (390, 1280, 2560):  # of which a window may have the larger two alone
        metrics = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
        inner, wide = browser.execute_script(
            'return [innerWidth, document.documentElement.scrollWidth]'
        )
        assert wide <= inner == width, f'the page is {wide} wide in a window of {inner}'

    def shown(selector):
        return [e for e in browser.find_elements('css selector', selector) if e.is_displayed()]

    everything = browser.find_elements('css selector', '.layers')
    figures = shown('.layers')
    assert 1 <= len(figures) < len(everything) and len(shown('.layer')) == 2 * len(figures)
    slider = browser.find_element('css selector', 'input[type=range]')
    browser.execute_script(
        'arguments[0].value = 20; arguments[0].dispatchEvent(new Event("input"))', slider
    )
    [right] = figures[0].find_elements('css selector', '.layer.right')
    assert '20%' in right.value_of_css_property('clip-path')
    from selenium.webdriver.support.ui import Select

    boxes = browser.find_elements('css selector', '.controls select')
    captions = []
    for index, option in enumerate(Select(boxes[0]).options):
        Select(boxes[0]).select_by_index(index)
        figures = sorted(shown('figure'), key=lambda each: each.rect['y'] * 1e5 + each.rect['x'])
        captions.append([each.find_element('css selector', 'figcaption').text for each in figures])
        kind = browser.find_elements('css selector', '.kind')[index]
        listed = kind.find_elements('css selector', 'li')
        assert captions[-1] == [each.get_property('textContent') for each in listed]
        assert option.text == kind.find_element('css selector', 'h3').get_property('textContent')
    assert len({*map(tuple, captions)}) > 6
    Select(boxes[1]).select_by_index(0)
    assert figures[0].find_element('css selector', '.left').get_attribute('data-layer') == 'image'
    Select(boxes[2]).select_by_index(3)
    assert right.get_attribute('class') == 'layer'
    [right] = figures[0].find_elements('css selector', '.layer.right')
    assert right.get_attribute('data-layer') == f'b{EVIL}'
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'media': 'print'})
    assert len(shown('.layer')) == 5 * len(everything) and len(shown('.kind')) == len(captions)
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
