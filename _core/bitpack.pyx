"""Compiled twin of bitpack_ref.py, which is its specification.

* words pass through a 64-bit window: whole bytes leave it, or enter it, as soon as they can
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from minisparse._core.bitpack_ref import check_data, check_words


def pack(words, width):
    width = check_words(words, width)
    cdef const uint32_t[::1] source = np.ascontiguousarray(words)
    data = np.empty((len(words) * width + 7) // 8, np.uint8)
    cdef uint8_t[::1] target = data
    cdef int nbits = width
    with nogil:
        put(source, nbits, target)
    return data


cdef void put(const uint32_t[::1] words, int width, uint8_t[::1] data) noexcept nogil:
    cdef int64_t i, place = 0
    cdef uint64_t window = 0
    cdef int held = 0
    # every eight bits that were put in come out once: place <= bits / 8, rounded up
    for i in range(words.shape[0]):
        # held < 8 and width <= 32: 40 bits at most
        window = window << width | words[i]
        held += width
        while held >= 8:
            held -= 8
            data[place] = <uint8_t>(window >> held)
            place += 1
    if held:
        data[place] = <uint8_t>(window << (8 - held))


def unpack(data, width, count):
    width, count = check_data(data, width, count)
    cdef const uint8_t[::1] source = np.ascontiguousarray(data)
    words = np.empty(count, np.uint32)
    cdef uint32_t[::1] target = words
    cdef int nbits = width
    with nogil:
        take(source, nbits, target)
    return words


cdef void take(const uint8_t[::1] data, int width, uint32_t[::1] words) noexcept nogil:
    cdef int64_t i, place = 0
    cdef uint64_t window = 0, mask = (<uint64_t>1 << width) - 1
    cdef int held = 0
    # check_data: the words' bits end in the last byte, and a byte is read only where a bit of it is needed
    for i in range(words.shape[0]):
        while held < width:
            window = window << 8 | data[place]
            place += 1
            held += 8
        held -= width
        words[i] = <uint32_t>(window >> held & mask)
