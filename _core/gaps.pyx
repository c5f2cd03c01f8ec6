"""Compiled twin of gaps_ref.py, which is its specification.

* one pass to count, one to write; nothing of the mask's size in memory
"""

from libc.stdint cimport int64_t, uint32_t

import numpy as np

from minisparse._core.gaps_ref import check_last, check_places, check_symbols


def to_symbols(places, width):
    width = check_places(places, width)
    cdef const int64_t[::1] source = np.ascontiguousarray(places)
    cdef int64_t i, j = 0, z, before = -1, total = source.shape[0]
    cdef int shift = width
    cdef uint32_t filler = <uint32_t>1 << shift
    cdef uint32_t[::1] target
    with nogil:
        for i in range(source.shape[0]):
            total += (source[i] - before - 1) >> shift
            before = source[i]
    symbols = np.empty(total, np.uint32)
    target, before = symbols, -1
    with nogil:
        # check_places: z >= 0; the fillers and gaps written are those counted above
        for i in range(source.shape[0]):
            z = source[i] - before - 1
            before = source[i]
            while z >= filler:
                target[j] = filler
                j += 1
                z -= filler
            target[j] = <uint32_t>z
            j += 1
    return symbols


def from_symbols(symbols, width, count):
    width, count = check_symbols(symbols, width, count)
    cdef const uint32_t[::1] source = np.ascontiguousarray(symbols)
    cdef uint32_t filler = <uint32_t>1 << <int>width
    cdef int64_t i, kept = 0, place = -1
    cdef int64_t[::1] target
    with nogil:
        for i in range(source.shape[0]):
            kept += source[i] != filler
    places = np.empty(kept, np.int64)
    target, kept = places, 0
    with nogil:
        # a gap passes z entries and the kept one, a filler 2^B; n 2^17 < 2^63
        # check_symbols: the last symbol is no filler, so kept < K wherever a place is written
        for i in range(source.shape[0]):
            place += source[i] + <int64_t>(source[i] != filler)
            target[kept] = place
            kept += source[i] != filler
    check_last(place, count)
    return places
