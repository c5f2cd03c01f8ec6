"""Memory of results is used again, by one result at a time, and does not pile up."""

import gc

import numpy as np
import pytest

from minisparse._core import reuse

SIZE = reuse.LEAST + 12345


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(reuse, "_waiting", {})


def test_memory_that_nobody_holds_is_used_again():
    first = reuse.empty(SIZE)
    place = first.ctypes.data
    del first
    assert reuse.waiting() == SIZE
    assert reuse.empty(SIZE).ctypes.data == place


def test_an_array_that_lives_keeps_its_memory():
    first = reuse.empty(SIZE)
    view = first[5:].view()[3:100]
    view[:] = 7
    del first
    assert reuse.waiting() == 0
    other = reuse.empty(SIZE)
    other[:] = 1
    assert (view == 7).all() and not np.shares_memory(view, other)


def test_memory_that_waits_is_lent_once():
    reuse.empty(SIZE)
    first, second = reuse.empty(SIZE), reuse.empty(SIZE)
    assert not np.shares_memory(first, second)


def test_sizes_do_not_mix():
    reuse.empty(SIZE)
    assert reuse.empty(SIZE + 1).size == SIZE + 1
    assert reuse.waiting() == 2 * SIZE + 1


def test_small_arrays_are_left_to_numpy():
    assert reuse.empty(reuse.LEAST - 1).size == reuse.LEAST - 1
    assert reuse.waiting() == 0


def test_what_waits_is_bounded_and_the_size_used_last_stays(monkeypatch):
    monkeypatch.setattr(reuse, "MOST", 3 * SIZE)
    for size in (SIZE, SIZE + 1, SIZE, SIZE + 2):
        reuse.empty(size)
    assert reuse.waiting() <= 3 * SIZE and SIZE + 2 in reuse._waiting
    reuse.empty(4 * SIZE)
    assert reuse.waiting() == 0
