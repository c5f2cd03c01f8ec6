"""Compiled twin of huffman_ref.py, which is its specification.

* histogram: four tables in turn, so that equal neighbours do not wait for each other's count
* encode: codes enter the top of a 64-bit window, three between two stores of its whole bytes
* decode: a symbol is one look-up of at most ROOT bits of a window, which is filled once for TURNS of them; longer
  codes, which are rare, are found by comparison with the first code of each length
* eight streams are decoded in step, eight chains of dependent look-ups in place of one
* the fast loops run while a stream has room for all that a filled window may lead to; its rest is read byte by byte
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from minisparse._core.huffman_ref import (
    _code_words,
    _table_order,
    check_coded,
    check_end,
    check_streams,
    check_symbols,
)

cdef extern from "bits.h" nogil:
    int trailing_zeros(uint64_t)

cdef enum:
    LONGEST = 15
    ROOT = 12  # most bits of a look-up
    STREAMS = 8  # decoded in step
    TURNS = 4  # look-ups after a window is filled: 4 * 12 of its 56 bits

include "huffman_streams.pxi"


def histogram(symbols, size):
    size = check_symbols(symbols, size)
    cdef const uint32_t[::1] source = np.ascontiguousarray(symbols)
    cdef int64_t i, n = source.shape[0], quarter = n // 4
    cdef int64_t tables = 4 if 4 * size <= max(n, 4096) else 1
    counts = np.zeros((tables, size), np.int64)
    cdef int64_t[:, ::1] count = counts
    with nogil:
        # check_symbols: all symbols lie below size
        if tables == 4:
            for i in range(quarter):
                count[0, source[4 * i]] += 1
                count[1, source[4 * i + 1]] += 1
                count[2, source[4 * i + 2]] += 1
                count[3, source[4 * i + 3]] += 1
        else:
            quarter = 0
        for i in range(4 * quarter, n):
            count[0, source[i]] += 1
    return counts.sum(axis=0)


def encode(symbols, lengths):
    words = _code_words(lengths)
    check_symbols(symbols, len(lengths))
    cdef const uint32_t[::1] source = np.ascontiguousarray(symbols)
    # codes at the top of 64 bits, their lengths in the lowest four
    places = (64 - lengths).astype(np.uint64) % 64
    cdef const uint64_t[::1] codes = words.astype(np.uint64) << places | lengths.astype(np.uint64)
    cdef int64_t i, nbits = 0
    cdef int without = 0
    with nogil:
        for i in range(source.shape[0]):
            nbits += codes[source[i]] & 15
            without |= (codes[source[i]] & 15) == 0
    check_coded(without)
    # a store is eight bytes, of which the last one's first is used at most
    data = np.empty((nbits + 7) // 8 + 8, np.uint8)
    cdef uint8_t[::1] target = data
    with nogil:
        put(source, codes, &target[0])
    return data[: (nbits + 7) // 8]


cdef void put(const uint32_t[::1] symbols, const uint64_t[::1] codes, uint8_t* target) noexcept nogil:
    cdef int64_t i, n = symbols.shape[0], thirds = n // 3
    cdef uint64_t window = 0
    cdef int held = 0
    # target advances by whole bytes of codes only, and eight more bytes can be written there
    for i in range(thirds):
        # held < 8 before, at most 7 + 3 * 15 after
        add(&window, &held, codes[symbols[3 * i]])
        add(&window, &held, codes[symbols[3 * i + 1]])
        add(&window, &held, codes[symbols[3 * i + 2]])
        store(target, window)
        target += held >> 3
        window <<= held & ~7
        held &= 7
    for i in range(3 * thirds, n):
        add(&window, &held, codes[symbols[i]])
    store(target, window)


cdef inline void add(uint64_t* window, int* held, uint64_t code) noexcept nogil:
    cdef int length = <int>(code & 15)
    window[0] |= (code & ~<uint64_t>15) >> held[0]
    held[0] += length


cdef inline void store(uint8_t* target, uint64_t window) noexcept nogil:
    target[0], target[1] = <uint8_t>(window >> 56), <uint8_t>(window >> 48)
    target[2], target[3] = <uint8_t>(window >> 40), <uint8_t>(window >> 32)
    target[4], target[5] = <uint8_t>(window >> 24), <uint8_t>(window >> 16)
    target[6], target[7] = <uint8_t>(window >> 8), <uint8_t>window


def decode(payload, sizes, lengths, count):
    order, _, longest = _table_order(lengths)
    count = check_streams(payload, sizes, count)
    # an entry of the table has 24 bits for its symbol; larger ones are looked up by their place in the order
    large = len(lengths) > 1 << 24
    cdef const uint32_t[::1] names = (np.arange(len(order)) if large else order).astype(np.uint32)
    symbols = np.empty(count, np.uint32)
    # an empty vector has no first element whose address could be taken
    cdef uint32_t[::1] target = symbols if count else np.empty(1, np.uint32)
    cdef const uint8_t[::1] source = np.ascontiguousarray(payload) if len(payload) else np.zeros(1, np.uint8)
    cdef Code code
    fill_code(&code, lengths[order], names, min(longest, ROOT if count >= 4096 else 8))
    cdef list bounds = sizes.tolist()
    cdef int64_t number = len(bounds), part = -(-count // number), start = 0, i
    states = np.empty(number * sizeof(Stream), np.uint8)
    cdef uint8_t[::1] memory = states
    cdef Stream* streams = <Stream*>&memory[0]
    for i in range(number):
        streams[i].data, streams[i].place, streams[i].stop = &source[0] + start, 0, bounds[i]
        streams[i].out = &target[0] + <int64_t>min(i * part, count)
        streams[i].end = &target[0] + <int64_t>min((i + 1) * part, count)
        start += bounds[i]
    with nogil:
        if number == STREAMS:
            take_eight(&code, streams, part)
        for i in range(number):
            streams[i] = take_stream(&code, streams[i])
    start = 0
    for i in range(number):
        start += bounds[i]
        check_end(streams[i].end - streams[i].out, 8 * streams[i].stop - streams[i].place,
                  source[start - 1] if bounds[i] else 0)
    return order.astype(np.uint32)[symbols] if large else symbols
