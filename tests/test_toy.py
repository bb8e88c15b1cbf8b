"""The toy benchmark gives the numbers of its model card, and its script makes its files."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOY = ROOT / 'data/toy'
# VOC20-style mIoU of data/toy/README.md.
EXPECTED = {'clip': 10.23, 'maskclip': 11.28, 'sclip': 11.98}


def checksums():
    lines = (TOY / 'SHA256SUMS').read_text().splitlines()
    return {path: digest for digest, path in (line.split('  ') for line in lines)}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    scores = {}
    for method in EXPECTED:
        output = subprocess.run(
            [
                *(sys.executable, str(ROOT / 'tools/test.py')),
                str(ROOT / f'configs/toy/{method}_toy_voc20.py'),
                *('--work-dir', str(tmp_path_factory.mktemp(method))),
            ],
            cwd=tmp_path_factory.getbasetemp(),
            capture_output=True,
            text=True,
        )
        found = re.findall(r'mIoU: ([\d.]+)', output.stdout + output.stderr)
        assert found, output.stderr
        scores[method] = float(found[-1])
    return scores


@pytest.mark.parametrize('method', EXPECTED)
def test_miou_is_that_of_the_model_card(measured, method):
    assert measured[method] == pytest.approx(EXPECTED[method], abs=0.5)


def test_methods_rank_as_in_the_paper(measured):
    assert measured['clip'] < measured['maskclip'] < measured['sclip']


def test_files_are_those_of_the_checksums():
    expected = checksums()
    assert {path: sha256(TOY / path) for path in expected} == expected


def test_benchmark_is_reproducible(tmp_path):
    subprocess.run(
        [sys.executable, str(ROOT / 'tools/toy/make_benchmark.py'), '--out', str(tmp_path)],
        check=True,
    )
    expected = {path: sum_ for path, sum_ in checksums().items() if path.startswith('VOC')}
    assert {path: sha256(tmp_path / path) for path in expected} == expected


def test_sizes():
    assert (TOY / 'toy_clip_vit-s16.safetensors').stat().st_size < 20e6
    benchmark = [path for path in (TOY / 'VOCdevkit').rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in benchmark) < 5e6
    assert sum(path.suffix == '.jpg' for path in benchmark) >= 60
