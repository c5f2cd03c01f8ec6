"""Memory of results is used again, by one result at a time, and does not pile up."""

import gc

import numpy as np
import pytest

from minisparse._core import allocator

SIZE = allocator.LEAST + 12345


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(allocator, "_waiting", {})


def test_memory_that_nobody_holds_is_used_again():
    first = allocator.empty(SIZE)
    place = first.ctypes.data
    del first
    assert allocator.waiting() == SIZE
    assert allocator.empty(SIZE).ctypes.data == place


def test_an_array_that_lives_keeps_its_memory():
    first = allocator.empty(SIZE)
    view = first[5:].view()[3:100]
    view[:] = 7
    del first
    assert allocator.waiting() == 0
    other = allocator.empty(SIZE)
    other[:] = 1
    assert (view == 7).all() and not np.shares_memory(view, other)


def test_memory_that_waits_is_lent_once():
    allocator.empty(SIZE)
    first, second = allocator.empty(SIZE), allocator.empty(SIZE)
    assert not np.shares_memory(first, second)


def test_sizes_do_not_mix():
    allocator.empty(SIZE)
    assert allocator.empty(SIZE + 1).size == SIZE + 1
    assert allocator.waiting() == 2 * SIZE + 1


def test_small_arrays_are_left_to_numpy():
    assert allocator.empty(allocator.LEAST - 1).size == allocator.LEAST - 1
    assert allocator.waiting() == 0


def test_what_waits_is_bounded_and_the_size_used_last_stays(monkeypatch):
    monkeypatch.setattr(allocator, "MOST", 3 * SIZE)
    for size in (SIZE, SIZE + 1, SIZE, SIZE + 2):
        allocator.empty(size)
    assert allocator.waiting() <= 3 * SIZE and SIZE + 2 in allocator._waiting
    allocator.empty(4 * SIZE)
    assert allocator.waiting() == 0
