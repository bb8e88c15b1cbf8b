"""The toy benchmark gives the numbers of its model card, and its script makes its files."""

import hashlib
import re
import runpy
import sys
from functools import cache

import pytest
from helpers import ROOT, earlier_blocks_run_once, metrics, run_test, run_tool

from sclip_mmseg.evaluation import compare

TOY = ROOT / 'data/toy'
# mIoU of data/toy/README.md.
EXPECTED = {
    ('clip', 'voc20'): 17.13,
    ('maskclip', 'voc20'): 39.75,
    ('sclip', 'voc20'): 46.08,
    ('clip', 'voc21'): 5.67,
    ('maskclip', 'voc21'): 26.09,
    ('sclip', 'voc21'): 23.92,
}
# Those of docs/differences.md.
SHOWN = [key for key in EXPECTED if key != ('clip', 'voc21')]


def checksums():
    lines = (TOY / 'SHA256SUMS').read_text().splitlines()
    return {path: digest for digest, path in (line.split('  ') for line in lines)}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def measure(tmp_path_factory):
    """Evaluate a method on a benchmark, once."""

    demo = tmp_path_factory.mktemp('toy') / 'work_dirs/toy_demo'

    @cache
    def measure(method, benchmark):
        work = demo / f'{method}_toy_{benchmark}'
        work.mkdir(parents=True)
        output = run_test(f'{method}_toy_{benchmark}', '--work-dir', work, cwd=work).stdout
        return metrics(output)['mIoU']

    measure.demo = demo
    with earlier_blocks_run_once():
        yield measure


@pytest.mark.parametrize(
    ('method', 'benchmark'),
    [pytest.param(*key, marks=() if key in SHOWN else pytest.mark.slow) for key in EXPECTED],
)
def test_miou_is_that_of_the_model_card(measure, method, benchmark):
    assert measure(method, benchmark) == pytest.approx(EXPECTED[method, benchmark], abs=0.5)


def test_methods_rank_as_in_the_paper(measure):
    clip, maskclip, sclip = (measure(method, 'voc20') for method in ('clip', 'maskclip', 'sclip'))
    assert clip < maskclip < sclip
    assert sclip >= max(2 * clip, 45)


def test_differences_are_those_of_the_page(measure, monkeypatch, capsys):
    """The commands of docs/differences.md on the demo's results print what stands below them."""
    for key in SHOWN:
        measure(*key)
    monkeypatch.chdir(measure.demo.parents[1])
    page = (ROOT / 'docs/differences.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```bash\n(.*?)```\n\n```text\n(.*?)```', page, flags=re.S)
    shown = [(cmd.splitlines()[-1].split(), text) for cmd, text in blocks if 'toy_demo' in cmd]
    assert len(shown) == 2
    for command, expected in shown:
        assert command[:2] == ['sclip', 'compare']
        paths = [word for word in command[2:] if word.startswith('work_dirs')]
        lines = [line for line in expected.splitlines() if line and line[0] != '/']
        output = list(filter(None, compare.compare(paths)))
        assert len(paths) == 2 and len(output) == len(lines)
        for line, wanted in zip(output, lines):
            if 'pixels in' in wanted:  # of which other machines list others
                continue
            numbers = [re.findall(r'-?\d+\.?\d*', each) for each in (line, wanted)]
            values, limits = ([float(number) for number in each] for each in numbers)
            assert re.sub(r'[\d.+\s-]+', ' ', line) == re.sub(r'[\d.+\s-]+', ' ', wanted)
            assert values == pytest.approx(limits, abs=0.8)
    capsys.readouterr()
    [program] = re.findall(r'```python\n(.*?)```', page, flags=re.S)
    exec(program, {})
    interval, sentence = capsys.readouterr().out.splitlines()
    assert interval.startswith('Interval(value=4')
    assert sentence.startswith('SCLIP is better than CLIP on images like these, by ')


@pytest.mark.parametrize('option', ['--images', '--pictures'])
def test_number_of_drawn_images(monkeypatch, option):
    """By its present and its earlier name."""
    monkeypatch.syspath_prepend(ROOT / 'tools/toy')
    parse = runpy.run_path(str(ROOT / 'tools/toy/demo.py'))['parse_args']
    monkeypatch.setattr(sys, 'argv', ['demo.py'])
    assert parse().images == 8
    monkeypatch.setattr(sys, 'argv', ['demo.py', option, '3'])
    assert parse().images == 3


def test_files_are_those_of_the_checksums():
    expected = checksums()
    assert {path: sha256(TOY / path) for path in expected} == expected


def test_benchmark_is_reproducible(tmp_path):
    run_tool(ROOT / 'tools/toy/make_benchmark.py', '--out', tmp_path)
    expected = {path: sum_ for path, sum_ in checksums().items() if path.startswith('VOC')}
    assert {path: sha256(tmp_path / path) for path in expected} == expected


def test_sizes():
    assert (TOY / 'toy_clip.safetensors').stat().st_size < 20e6
    benchmark = [path for path in (TOY / 'VOCdevkit').rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in benchmark) < 5e6
    assert sum(path.suffix == '.jpg' for path in benchmark) >= 60
