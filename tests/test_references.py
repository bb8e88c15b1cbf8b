"""References in docstrings are valid."""

import ast
import importlib
import inspect
import re
import sys
import warnings

import pytest
from helpers import ROOT

from sclip_mmseg.old_names import MODULES as OLD_MODULES

ROLE = re.compile(r':(?:class|func|meth|mod|data|attr|exc|obj):`~?([^`]+)`')
MODULES = sorted((ROOT / 'sclip_mmseg').rglob('*.py'))


def references(path):
    """Names that docstrings and comments ``#:`` of a file refer to, with the classes around."""
    source = path.read_text(encoding='utf-8')
    tree = ast.parse(source)
    kinds = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]

    def around(line):
        return [kind.name for kind in kinds if kind.lineno <= line <= kind.end_lineno]

    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in ROLE.findall(ast.get_docstring(node) or ''):
                yield name, around(getattr(node, 'lineno', 0))
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith('#:'):
            for name in ROLE.findall(line):
                yield name, around(number)


def resolves(name, module, package, classes):
    """Whether a name leads somewhere: ``.x`` from the package, ``x`` from class or module."""
    if name.startswith('.'):
        dots = len(name) - len(name.lstrip('.'))
        parts = package.split('.')
        name = '.'.join([*parts[: len(parts) - dots + 1], name.lstrip('.')])
        return _follow(name)
    holders = [getattr(module, kind, None) for kind in classes] + [module]
    return any(_has(holder, name) for holder in holders) or _follow(name)


def _has(holder, name):
    for part in name.split('.'):
        fields = getattr(holder, '__annotations__', {})
        if part in fields and not hasattr(holder, part):
            return True
        if not hasattr(holder, part):
            return False
        # Properties are not computed; a module's names may be imported on demand.
        get = getattr if inspect.ismodule(holder) else inspect.getattr_static
        holder = get(holder, part)
    return True


def _follow(name):
    """Whether a full name is a module, or what one holds."""
    parts = name.split('.')
    for end in range(len(parts), 0, -1):
        # Once imported, an old module is found without a warning.
        if '.'.join(parts[1:end]) in OLD_MODULES:
            return False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('error', FutureWarning)  # of an old name
                found = importlib.import_module('.'.join(parts[:end]))
        except (ImportError, FutureWarning):
            continue
        return end == len(parts) or _has(found, '.'.join(parts[end:]))
    return False


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_refer_to_what_exists(path):
    parts = path.relative_to(ROOT).with_suffix('').parts
    found = list(references(path))
    if not found:
        return
    name = '.'.join(parts).removesuffix('.__init__')
    package = '.'.join(parts[:-1])
    module = importlib.import_module(name)
    assert [n for n, classes in found if not resolves(n, module, package, classes)] == []


def test_dead_references_are_found(monkeypatch):
    present = importlib.import_module('sclip_mmseg.regions.maps')
    monkeypatch.setitem(sys.modules, 'sclip_mmseg.models.regions', present)  # an old name
    module = importlib.import_module('sclip_mmseg.models.segmentor')
    package = 'sclip_mmseg.models'

    def found(name):
        return resolves(name, module, package, ['CLIPSegmentor'])

    live = ['.pamr.PAMR', '..towers.load_clip', 'predict', '.methods', 'mmseg.models.BaseSegmentor']
    assert all(map(found, live))
    dead = ['.pamr.Pamr', '.towers.load_clip', 'predicts', '.regions', 'CLIPSegmentor.forwards']
    assert not any(map(found, dead))
