# Symbols out of streams of bits: a code as tables, a stream and its place, eight streams in step. For huffman.pyx.

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
