"""Compiled twin of arithmetic_ref.py, which is its specification.

* low and range are 64-bit registers; a carry is an addition that wraps
* counts are pairs of 32-bit integers; the one division of a bit is of 64 bits
* places are written as they are found: nothing of the mask's size in memory
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

import numpy as np

from minisparse._core.arithmetic_ref import check_data, check_kept, check_mask, check_places, check_symbols
from minisparse._core.coder import check_end, check_start

cdef extern from "bits.h" nogil:
    int bit_length(uint64_t)

cdef enum:
    CLASSES = 32
    LEARNING = 17  # bits that a context costs beyond one a bit: log2(n) / 2 + 1 with n < 2^31

cdef struct Encoder:
    uint64_t low, range
    uint8_t* data
    int64_t place

cdef struct Decoder:
    uint64_t code, range
    const uint8_t* data
    int64_t place, size


def encode(symbols, width, order):
    width, order = check_symbols(symbols, width, order)
    cdef const uint32_t[::1] source = np.ascontiguousarray(symbols)
    cdef uint32_t[::1] counts = np.zeros(2 << width * (1 + order), np.uint32)
    data = _room(len(symbols) * width, 1 << width * (1 + order))
    cdef uint8_t[::1] target = data
    cdef Encoder coder = Encoder(0, ~<uint64_t>0, &target[0], 0)
    cdef int64_t i
    cdef int shift, nbits = width
    cdef uint32_t path, before = 0, memory = order
    with nogil:
        for i in range(source.shape[0]):
            path = <uint32_t>1 << nbits | source[i]
            # check_symbols: path < 2^(width + 1), so a context lies below 2^width, and before it another 2^width
            for shift in range(nbits - 1, -1, -1):
                put(&coder, path >> shift & 1, &counts[2 * (before << nbits | path >> (shift + 1))])
            before = source[i] * memory
        finish(&coder)
    return data[: coder.place].copy()


def decode(data, width, order, count):
    width, order, count = check_data(data, width, order, count)
    cdef uint32_t[::1] counts = np.zeros(2 << width * (1 + order), np.uint32)
    symbols = np.empty(count, np.uint32)
    cdef uint32_t[::1] target = symbols
    padded = _padded(data)
    cdef const uint8_t[::1] source = padded
    cdef Decoder coder = Decoder(0, ~<uint64_t>0, &source[0], 0, len(data))
    cdef int64_t i
    cdef int j, nbits = width
    cdef uint32_t node, before = 0, memory = order
    start(&coder)
    with nogil:
        for i in range(target.shape[0]):
            node = 1
            for j in range(nbits):
                node = node << 1 | take(&coder, &counts[2 * (before << nbits | node)])
            target[i] = node - (<uint32_t>1 << nbits)
            before = target[i] * memory
    check_end(coder.code, coder.place, data)
    return symbols


def encode_places(places, columns, count):
    columns, count = check_places(places, columns, count)
    cdef const int64_t[::1] source = np.ascontiguousarray(places)
    cdef uint32_t[::1] counts = np.zeros(2 * CLASSES * CLASSES, np.uint32), above = np.zeros(columns, np.uint32)
    data = _room(count, CLASSES * CLASSES)
    cdef uint8_t[::1] target = data
    cdef Encoder coder = Encoder(0, ~<uint64_t>0, &target[0], 0)
    cdef int64_t i, kept = 0, z = 0, column = 0, n = count, most = source.shape[0], size = columns
    cdef int bit
    with nogil:
        for i in range(n):
            bit = kept < most and source[kept] == i
            put(&coder, bit, &counts[2 * context(z, above[column])])
            above[column] += bit
            kept += bit
            z = 0 if bit else z + 1
            column = column + 1 if column + 1 < size else 0
        finish(&coder)
    return data[: coder.place].copy()


def decode_places(data, kept, columns, count):
    kept, columns, count = check_mask(data, kept, columns, count)
    cdef uint32_t[::1] counts = np.zeros(2 * CLASSES * CLASSES, np.uint32), above = np.zeros(columns, np.uint32)
    places = np.empty(kept, np.int64)
    cdef int64_t[::1] target = places
    padded = _padded(data)
    cdef const uint8_t[::1] source = padded
    cdef Decoder coder = Decoder(0, ~<uint64_t>0, &source[0], 0, len(data))
    cdef int64_t i, found = 0, z = 0, column = 0, n = count, most = kept, size = columns
    cdef int bit
    start(&coder)
    with nogil:
        for i in range(n):
            bit = take(&coder, &counts[2 * context(z, above[column])])
            if bit:
                if found == most:
                    found = most + 1
                    break
                target[found] = i
                found += 1
            above[column] += bit
            z = 0 if bit else z + 1
            column = column + 1 if column + 1 < size else 0
    check_kept(found == most, kept)
    check_end(coder.code, coder.place, data)
    return places


def _room(nbits, contexts):
    """Memory for the data of so many bits: one bit each, what contexts cost to learn, and rounding."""
    return np.empty((nbits + LEARNING * min(nbits, contexts)) // 8 + (nbits >> 16) + 16, np.uint8)


def _padded(data):
    """The data with eight zeros after them."""
    return np.concatenate([data, np.zeros(8, np.uint8)])


cdef inline int context(int64_t z, uint32_t above) noexcept nogil:
    # both lie below 2^31: bit lengths up to 31
    return CLASSES * bit_length(z) + bit_length(above)


cdef inline uint64_t split_of(uint64_t interval, const uint32_t* n) noexcept nogil:
    # eq. 1; n0 + n1 < 2^31, so the divisor is below 2^33 and no part of the interval is empty
    return interval // (2 * (<uint64_t>n[0] + n[1]) + 2) * (2 * <uint64_t>n[0] + 1)


cdef inline void put(Encoder* coder, uint32_t bit, uint32_t* n) noexcept nogil:
    cdef uint64_t split = split_of(coder.range, n)
    n[bit] += 1
    if bit:
        coder.range -= split
        up(coder, split)
    else:
        coder.range = split
    while not coder.range >> 56:
        shift_out(coder)
        coder.range <<= 8


cdef inline void up(Encoder* coder, uint64_t step) noexcept nogil:
    cdef int64_t place = coder.place - 1
    coder.low += step
    if coder.low < step:
        # a carry: low + range < 1 on the whole, so a byte below 255 comes before the first one's start
        while coder.data[place] == 255:
            coder.data[place] = 0
            place -= 1
        coder.data[place] += 1


cdef inline void shift_out(Encoder* coder) noexcept nogil:
    # _room: the bytes that all bits of eq. 1 can take
    coder.data[coder.place] = <uint8_t>(coder.low >> 56)
    coder.place += 1
    coder.low <<= 8


cdef void finish(Encoder* coder) noexcept nogil:
    up(coder, -coder.low & ((<uint64_t>1 << 56) - 1))
    shift_out(coder)
    while coder.place and coder.data[coder.place - 1] == 0:
        coder.place -= 1


cdef int start(Decoder* coder) except -1:
    # _padded: eight bytes are there
    cdef int i
    for i in range(8):
        coder.code = coder.code << 8 | coder.data[i]
    coder.place = 8
    check_start(coder.code)
    return 0


cdef inline uint32_t take(Decoder* coder, uint32_t* n) noexcept nogil:
    cdef uint64_t split = split_of(coder.range, n)
    cdef uint32_t bit = coder.code >= split
    n[bit] += 1
    if bit:
        coder.range -= split
        coder.code -= split
    else:
        coder.range = split
    while not coder.range >> 56:
        coder.code = coder.code << 8 | (coder.data[coder.place] if coder.place < coder.size else 0)
        coder.place += 1
        coder.range <<= 8
    return bit
