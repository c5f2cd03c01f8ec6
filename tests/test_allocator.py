"""Memory of results is used again, by one result at a time, and does not pile up."""

import gc

import numpy as np
import pytest

allocator = pytest.importorskip("minisparse._core.allocator", reason="kernels are not compiled")

SIZE = allocator.LEAST + 12345
BYTES = np.dtype(np.uint8)


def empty(nbytes):
    return allocator.empty_array((nbytes,), BYTES)


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch):
    gc.collect()
    monkeypatch.setattr(allocator, "_waiting", {})


def test_memory_that_nobody_holds_is_used_again():
    first = empty(SIZE)
    place = first.ctypes.data
    del first
    assert allocator.waiting() == SIZE
    assert empty(SIZE).ctypes.data == place


def test_an_array_that_lives_keeps_its_memory():
    first = empty(SIZE)
    view = first[5:].view()[3:100]
    view[:] = 7
    del first
    assert allocator.waiting() == 0
    other = empty(SIZE)
    other[:] = 1
    assert (view == 7).all() and not np.shares_memory(view, other)


def test_memory_that_waits_is_lent_once():
    empty(SIZE)
    first, second = empty(SIZE), empty(SIZE)
    assert not np.shares_memory(first, second)


def test_sizes_do_not_mix():
    empty(SIZE)
    assert empty(SIZE + 1).size == SIZE + 1
    assert allocator.waiting() == 2 * SIZE + 1


def test_small_arrays_are_left_to_numpy():
    assert empty(allocator.LEAST - 1).size == allocator.LEAST - 1
    assert allocator.waiting() == 0


def test_what_waits_is_bounded_and_the_size_used_last_stays(monkeypatch):
    monkeypatch.setattr(allocator, "MOST", 3 * SIZE)
    for size in (SIZE, SIZE + 1, SIZE, SIZE + 2):
        empty(size)
    assert allocator.waiting() <= 3 * SIZE and SIZE + 2 in allocator._waiting
    empty(4 * SIZE)
    assert allocator.waiting() == 0
