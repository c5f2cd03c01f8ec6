"""Memory of results is used again, by one result at a time, and does not pile up."""

import gc

import numpy as np
import pytest

from minisparse._core import pool

SIZE = pool.LEAST + 12345


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(pool, "_waiting", {})


def test_memory_that_nobody_holds_is_used_again():
    first = pool.empty(SIZE)
    place = first.ctypes.data
    del first
    assert pool.waiting() == SIZE
    assert pool.empty(SIZE).ctypes.data == place


def test_an_array_that_lives_keeps_its_memory():
    first = pool.empty(SIZE)
    view = first[5:].view()[3:100]
    view[:] = 7
    del first
    assert pool.waiting() == 0
    other = pool.empty(SIZE)
    other[:] = 1
    assert (view == 7).all() and not np.shares_memory(view, other)


def test_sizes_do_not_mix():
    pool.empty(SIZE)
    assert pool.empty(SIZE + 1).size == SIZE + 1
    assert pool.waiting() == 2 * SIZE + 1


def test_small_arrays_are_left_to_numpy():
    assert pool.empty(pool.LEAST - 1).size == pool.LEAST - 1
    assert pool.waiting() == 0


def test_what_waits_is_bounded_and_the_size_used_last_stays(monkeypatch):
    monkeypatch.setattr(pool, "MOST", 3 * SIZE)
    for size in (SIZE, SIZE + 1, SIZE, SIZE + 2):
        pool.empty(size)
    assert pool.waiting() <= 3 * SIZE and SIZE + 2 in pool._waiting
    pool.empty(4 * SIZE)
    assert pool.waiting() == 0
