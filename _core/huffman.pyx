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


cdef inline uint64_t load(const uint8_t* source) noexcept nogil:
    return (<uint64_t>source[0] << 56 | <uint64_t>source[1] << 48 | <uint64_t>source[2] << 40
            | <uint64_t>source[3] << 32
            | <uint64_t>source[4] << 24 | <uint64_t>source[5] << 16 | <uint64_t>source[6] << 8
            | <uint64_t>source[7])


cdef struct Code:
    # codes of length l, at the top of LONGEST bits, lie below limit[l]; the first is that of symbol names[index[l]]
    uint32_t limit[LONGEST + 1]
    uint32_t first[LONGEST + 1]
    int64_t index[LONGEST + 1]
    const uint32_t* names
    # by the next `root` bits: the symbol above eight bits of its code's length; 0 for longer codes
    uint32_t table[1 << ROOT]
    int root


cdef struct Stream:
    # bits [place, 8 * stop) of data and symbols [out, end) are still to be read and written
    const uint8_t* data
    int64_t place
    int64_t stop
    uint32_t* out
    uint32_t* end


cdef void fill_code(Code* code, const int64_t[::1] lengths, const uint32_t[::1] names, int root) noexcept nogil:
    """Limits and table of a complete code from its lengths in increasing order, one a symbol."""
    cdef int64_t i = 0, j, k = 0
    cdef uint32_t next_code = 0
    cdef int length
    code.names, code.root, code.limit[0] = &names[0], root, 0
    for length in range(1, LONGEST + 1):
        code.first[length], code.index[length] = next_code, i
        while i < lengths.shape[0] and lengths[i] == length:
            # Kraft: all spans together are 2^root entries, or the first 2^root - those of longer codes
            if length <= root:
                for j in range(<int64_t>1 << (root - length)):
                    code.table[k] = names[i] << 8 | <uint32_t>length
                    k += 1
            next_code += <uint32_t>1 << (LONGEST - length)
            i += 1
        code.limit[length] = next_code
    for j in range(k, <int64_t>1 << root):
        code.table[j] = 0


cdef Stream take_one(const Code* code, Stream s) noexcept nogil:
    """The stream after one symbol, which must have room; bytes at s.stop and beyond count as zeros."""
    cdef int64_t byte = s.place >> 3
    cdef uint32_t peek = 0
    cdef int i, length = 1
    # 7 + LONGEST bits lie within three bytes
    for i in range(3):
        peek = peek << 8 | (s.data[byte + i] if byte + i < s.stop else 0)
    peek = peek >> (24 - LONGEST - <int>(s.place & 7)) & ((1 << LONGEST) - 1)
    # the longest code's limit is 2^LONGEST > peek
    while peek >= code.limit[length]:
        length += 1
    # first <= peek < limit: a place of a symbol of this length
    s.out[0] = code.names[code.index[length] + ((peek - code.first[length]) >> (LONGEST - length))]
    s.out += 1
    s.place += length
    return s


cdef inline bint has_room(const Stream* s) noexcept nogil:
    """Whether a filled window and the symbols of its TURNS look-ups stay within the stream and its part."""
    return s.end - s.out >= TURNS and (s.place >> 3) + 8 <= s.stop


cdef inline uint64_t fill(const Stream* s) noexcept nogil:
    """The next bits, 56 at least, at the top; the lowest bit is one, so that zeros below it count what is used."""
    return load(s.data + (s.place >> 3)) << (s.place & 7) | 1


cdef inline Stream advance(Stream s, int64_t symbols, uint64_t window) noexcept nogil:
    """The stream after symbols that left this window."""
    s.out += symbols
    s.place += trailing_zeros(window)
    return s


cdef Stream take_stream(const Code* code, Stream s) noexcept nogil:
    """The stream after all symbols that are left, or at its end."""
    cdef uint64_t window
    cdef uint32_t entry
    cdef int turn, shift = 64 - code.root
    while has_room(&s):
        window, turn = fill(&s), 0
        while turn < TURNS:
            entry = code.table[window >> shift]
            if entry == 0:
                break
            s.out[turn] = entry >> 8
            window <<= entry & 63
            turn += 1
        s = advance(s, turn, window)
        if turn < TURNS:
            s = take_one(code, s)
    while s.out < s.end and s.place < 8 * s.stop:
        s = take_one(code, s)
    return s


cdef void take_eight(Code* code, Stream* s, int64_t part) noexcept nogil:
    """Symbols of eight streams in step, `part` apart, for as long as all have room."""
    cdef uint64_t at_0, at_1, at_2, at_3, at_4, at_5, at_6, at_7
    cdef uint32_t of_0, of_1, of_2, of_3, of_4, of_5, of_6, of_7
    cdef uint32_t* out
    cdef uint32_t* table = code.table
    cdef int i, turn, shift = 64 - code.root
    while True:
        for i in range(STREAMS):
            if not has_room(&s[i]):
                return
        at_0, at_1, at_2, at_3 = fill(&s[0]), fill(&s[1]), fill(&s[2]), fill(&s[3])
        at_4, at_5, at_6, at_7 = fill(&s[4]), fill(&s[5]), fill(&s[6]), fill(&s[7])
        out, turn = s[0].out, 0
        # all have room, so none is cut short and they stay `part` apart
        while turn < TURNS:
            of_0, of_1, of_2 = table[at_0 >> shift], table[at_1 >> shift], table[at_2 >> shift]
            of_3, of_4, of_5 = table[at_3 >> shift], table[at_4 >> shift], table[at_5 >> shift]
            of_6, of_7 = table[at_6 >> shift], table[at_7 >> shift]
            if not (of_0 and of_1 and of_2 and of_3 and of_4 and of_5 and of_6 and of_7):
                break
            out[turn], out[turn + part] = of_0 >> 8, of_1 >> 8
            out[turn + 2 * part], out[turn + 3 * part] = of_2 >> 8, of_3 >> 8
            out[turn + 4 * part], out[turn + 5 * part] = of_4 >> 8, of_5 >> 8
            out[turn + 6 * part], out[turn + 7 * part] = of_6 >> 8, of_7 >> 8
            at_0, at_1, at_2 = at_0 << (of_0 & 63), at_1 << (of_1 & 63), at_2 << (of_2 & 63)
            at_3, at_4, at_5 = at_3 << (of_3 & 63), at_4 << (of_4 & 63), at_5 << (of_5 & 63)
            at_6, at_7 = at_6 << (of_6 & 63), at_7 << (of_7 & 63)
            turn += 1
        s[0], s[1] = advance(s[0], turn, at_0), advance(s[1], turn, at_1)
        s[2], s[3] = advance(s[2], turn, at_2), advance(s[3], turn, at_3)
        s[4], s[5] = advance(s[4], turn, at_4), advance(s[5], turn, at_5)
        s[6], s[7] = advance(s[6], turn, at_6), advance(s[7], turn, at_7)
        if turn < TURNS:
            for i in range(STREAMS):
                s[i] = take_one(code, s[i])


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
