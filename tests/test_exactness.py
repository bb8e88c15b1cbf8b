"""The claims in docs/exactness.md equal the tolerances of the tests."""

import hashlib
import json
import math
import re
from types import SimpleNamespace

import cv2
import pytest
from exactness import REAL_TOWER, TEXTS, TOLERANCES, Tolerance
from helpers import ROOT, read_tables

PAGE = 'docs/exactness.md'


def _number(text):
    """The value of ``2e-5``, ``99.99 %``, ``any`` or ``–``."""
    if text == 'any':
        return math.inf
    number = float(re.match(r'[\d.e-]*', text)[0] or 0)
    return round(number / 100, 6) if text.endswith('%') else number


def test_the_page_claims_what_the_tests_ask_for():
    [rows] = [rows for head, _, *rows in read_tables(PAGE) if 'class scores' in head]
    claimed = {}
    for systems, scores, excused, largest, labels in rows:
        for system in systems.split(', '):
            name = re.sub('[ -]', '', system)
            claimed[name] = Tolerance(*map(_number, (scores, excused, largest, labels)))
    asked = {system.replace(' ', ''): tolerance for system, tolerance in TOLERANCES.items()}
    assert claimed.keys() >= asked.keys()
    assert claimed == {system: asked.get(system, Tolerance()) for system in claimed}
    assert f'embeddings of queries agree within {TEXTS:.0e}'.replace('e-0', 'e-') in _text(PAGE)


def test_the_readme_claims_no_more():
    claim = r'class scores agree .*? to ([\d.e-]+) \(.*? to ([\d.e-]+)\);.* agree to ([\d.]+\d)\.'
    [scores, rounded, real_tower] = re.search(claim, _text('README.md')).groups()
    assert float(scores) == Tolerance().scores
    assert float(rounded) == TOLERANCES['ResCLIP'].largest
    assert float(real_tower) == REAL_TOWER


def _text(page):
    return ' '.join((ROOT / page).read_text(encoding='utf-8').split())


@pytest.mark.parametrize('name', ['demo/coffee.jpg', 'toy_000003.jpg'])
def test_images_of_the_outputs_are_what_the_programs_saw(name):
    """If only the pixels differ, OpenCV decodes JPEG differently here; scores differ a little."""
    images = json.loads((ROOT / 'tests/golden/images.json').read_text())
    [(path, image)] = [item for item in images.items() if item[0].endswith(name)]
    assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == image['sha256']
    pixels = cv2.imread(str(ROOT / path))
    assert hashlib.sha256(pixels).hexdigest() == image['decoded_bgr_sha256']


@pytest.mark.parametrize(
    'marks, outcome, status',
    [
        (['golden'], 'passed', 0),
        (['golden', 'public'], 'passed', 1),
        (['golden'], 'skipped', 1),
        ([], 'passed', 1),
    ],
)
def test_ci_fails_where_reference_data_are_not_compared(
    pytestconfig, monkeypatch, tmp_path, marks, outcome, status
):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / 'tests/conftest.py'))
    monkeypatch.setattr(conftest, 'SHARED', tmp_path)
    monkeypatch.setattr(conftest, '_private_passed', 0)
    monkeypatch.setenv('CI', 'true')
    session = SimpleNamespace(config=SimpleNamespace(), exitstatus=0)
    report = SimpleNamespace(when='call', passed=outcome == 'passed', keywords=marks)
    conftest.pytest_runtest_logreport(report)
    conftest.pytest_sessionfinish(session, 0)
    assert session.exitstatus == status
