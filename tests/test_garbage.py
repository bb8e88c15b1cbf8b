"""Imports leave nothing to the next garbage collection, and what others froze as it was."""

import gc

import pytest

from sclip_mmseg.utils import garbage


@pytest.fixture
def thawed():
    """Nothing is frozen, unlike in all other tests."""
    gc.unfreeze()
    yield
    gc.freeze()


def collections():
    """How often garbage was looked for, among young objects at least."""
    return sum(generation['collections'] for generation in gc.get_stats())


def test_what_is_made_meanwhile_is_not_looked_at(thawed):
    before = collections()
    with garbage.uncollected():
        made = [[] for _ in range(10_000)]
        assert not gc.isenabled()
    assert gc.isenabled()
    made.append([])
    assert collections() == before
    assert gc.get_freeze_count() == 0


def test_what_somebody_froze_stays_frozen():
    frozen = gc.get_freeze_count()
    assert frozen > garbage.FROZEN_BY_PYTHON
    with garbage.uncollected():
        pass
    assert gc.get_freeze_count() > frozen / 2  # some may have ended


def test_a_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage.uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
