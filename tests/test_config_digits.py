"""The tests of configs detect a change of any digit in any config."""

import re
import shutil
import tokenize

import pytest
from helpers import ROOT
from mmengine.config import Config
from protocols import check_runtime, expected_values, values_in_force


@pytest.mark.slow
def test_no_digit_of_a_config_can_be_changed(tmp_path):
    """Each digit of each config, one at a time, makes a comparison of test_configs.py fail."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    paths = sorted((tmp_path / 'configs').rglob('*.py'))
    users = _users(paths)
    assert all(_passes(path) for path in {user for found in users.values() for user in found})
    survivors = []
    for path in paths:
        if path.match('_base_/protocols/one_*.py'):
            continue  # of no config; tests/test_names_and_protocols.py compares each value
        text = path.read_text()
        for changed, place in _changes(path):
            path.write_text(changed)
            if all(_passes(user) for user in users[path]):
                survivors.append(f'{path.relative_to(tmp_path)}: {place}')
        path.write_text(text)
    assert survivors == []


def _users(paths):
    """Configs of a benchmark that inherit a file, itself included."""
    bases = {
        path: {
            (path.parent / name).resolve()
            for name in re.findall(r"'(\.[^']*\.py)'", path.read_text())
        }
        for path in paths
    }

    def inherited(path):
        return {path}.union(*map(inherited, bases[path]))

    whole = {path: inherited(path) for path in paths if '_base_' not in path.parts}
    return {path: [user for user, found in whole.items() if path in found] for path in paths}


def _changes(path):
    """Texts of a file with one digit of its code changed, and where."""
    lines = path.read_text().splitlines(keepends=True)
    with path.open('rb') as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type != tokenize.COMMENT]
    for token in tokens:
        if token.type not in (tokenize.NUMBER, tokenize.STRING) or token.start[0] != token.end[0]:
            continue
        row, start = token.start[0] - 1, token.start[1]
        for column in range(start, token.end[1]):
            line = lines[row]
            if line[column].isdecimal():
                digit = '8' if line[column] == '9' else str(int(line[column]) + 1)
                line = line[:column] + digit + line[column + 1 :]
                yield ''.join([*lines[:row], line, *lines[row + 1 :]]), f'line {row + 1}: {line}'


def _passes(path):
    try:
        cfg = Config.fromfile(path)
        check_runtime(cfg)
        return values_in_force(cfg) == expected_values(path.stem)
    except Exception:
        return False
