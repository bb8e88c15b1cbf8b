"""Saved results are found, compared and drawn without running anything again."""

import csv
import json

import numpy as np
import pytest
from test_statistics import CLASSES, make

from sclip_mmseg import InputError
from sclip_mmseg.evaluation import Result
from sclip_mmseg.evaluation.compare import compare, find_results
from sclip_mmseg.evaluation.confusion import draw_confusion, image_scores, largest_confusions


def _save(folder, result):
    folder.mkdir(parents=True)
    result.save(folder / 'result.npz')
    return folder


@pytest.fixture
def pair(tmp_path):
    return [
        _save(tmp_path / 'good', make(1, 40, right=0.9)),
        _save(tmp_path / 'bad', make(2, 40, right=0.5)),
    ]


def test_flows_are_sentences():
    names = ['sofa', 'chair', 'wall']
    counts = [
        np.array([[0, 0, 1, 2], [0, 1, 1, 2], [80, 10, 50, 5]]),
        np.array([[0, 0, 1], [0, 1, 0], [8, 2, 50]]),
    ]
    confusions = [
        str(confusion)
        for confusion in largest_confusions(Result.from_counts(['a', 'b'], counts, names))
    ]
    assert confusions == [
        '50 % of chair becomes sofa (50 pixels in 1 image)',
        '12 % of sofa becomes chair (12 pixels in 2 images)',
    ]


def test_images_have_a_mean_of_their_own_classes():
    counts = [
        np.array([[0, 0, 1], [0, 1, 1], [60, 20, 20]]),
        np.array([[0], [2], [5]]),
        np.zeros((3, 0), int),
    ]
    found = image_scores(Result.from_counts([*'abc'], counts, [*'xyz']))
    np.testing.assert_allclose(found, [(75 + 50) / 2, 0, np.nan])


def test_a_figure_escapes_names_and_leaves_out_what_is_absent():
    names = ['<b>&"', 'sea', 'never']
    figure = draw_confusion(
        Result.from_counts(['a'], [np.array([[0, 0], [0, 1], [3, 1]])], names), '<i>'
    )
    assert '<b>' not in figure and '<i>' not in figure and 'never' not in figure
    assert '&lt;b&gt;&amp;&quot; → sea: 25.0 %' in figure
    assert figure.count('<rect') == 3  # two cells on their ground


def test_two_results_are_compared(pair, tmp_path):
    lines = compare(pair, tmp_path / 'out')
    assert lines[0] == '40 images, 5 classes; in percent, with 95 % intervals'
    assert any(line.startswith('good is better than bad on images like these') for line in lines)
    assert any('without images' in line for line in lines)
    content = json.loads((tmp_path / 'out/comparison.json').read_text())
    result = make(1, 40, right=0.9)
    [value] = [
        row for row in content['results'] if (row['result'], row['metric']) == ('good', 'mIoU')
    ]
    assert value['value'] == result.mIoU and value['low'] < value['value'] < value['high']
    with open(tmp_path / 'out/differences.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == ['', '', '', *CLASSES]
    assert rows[0]['ahead'] == '1.0' and rows[-1]['value'] == ''
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        *('report.html', 'comparison.json', 'results.csv', 'differences.csv'),
        *('confusion_good.svg', 'confusion_bad.svg'),
    }


def test_nothing_is_written_without_a_folder(pair, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    assert compare(pair)[0].startswith('40 images')
    assert compare(pair[:1])[2].startswith('good')
    assert sorted(tmp_path.rglob('*')) == before


def test_a_suite_gives_the_pairs_of_each_benchmark(tmp_path):
    for number, method in enumerate(('clip', 'sclip', 'naclip')):
        _save(tmp_path / f'suite/{method}_vit-b16_voc20', make(number, 30))
        _save(tmp_path / f'suite/{method}_vit-b16_ade20k', make(number, 30, first=40))
    _save(tmp_path / 'suite/clip_vit-b16_voc21', make(1, 5))
    compare([tmp_path / 'suite'], tmp_path / 'out')
    lines = compare([tmp_path / 'suite'], tmp_path / 'out')  # over what is there
    assert sum('minus' in line or 'is better than' in line for line in lines) == 6
    assert lines[-1].endswith('images and classes: clip_vit-b16_voc21')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'vit-b16_ade20k',
        'vit-b16_voc20',
    }
    assert (tmp_path / 'out/vit-b16_voc20/report.html').is_file()


def test_own_names_are_not_shortened(tmp_path):
    for number, method in enumerate(('my_csa', 'your_csa')):
        _save(tmp_path / f'evaluated/{method}', make(number, 30))
    lines = compare([tmp_path / 'evaluated'])
    assert [line.split()[0] for line in lines[2:4]] == ['my_csa', 'your_csa']


def test_results_get_the_shortest_names_that_differ(tmp_path):
    for name in ('a/x', 'b/x'):
        _save(tmp_path / name, make(1, 3))
    make(1, 3).save(tmp_path / 'b/x/result_0.npz')
    assert [*find_results([tmp_path / 'a/x', tmp_path / 'b/x'])[0]] == ['a/x', 'b/x']
    files, of_suite = find_results([tmp_path / 'a/x/result.npz', tmp_path / 'b/x/result_0.npz'])
    assert [*files] == ['x', 'result_0'] and not of_suite
    assert len(find_results([tmp_path / 'a/x'] * 2)[0]) == 1


def test_what_cannot_be_compared_is_one_line(pair, tmp_path):
    other = _save(tmp_path / 'other', make(1, 39))
    with pytest.raises(
        InputError, match='^good and other have different images, good has image_39'
    ):
        compare([pair[0], other], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='empty has no result.npz'):
        compare([tmp_path / 'empty'])
    with pytest.raises(InputError, match='none does not exist'):
        compare([tmp_path / 'none'])
