# Entries of a mask as the loops over pixels meet them: for spconv.pyx.
#
# They stand in bins (residue, chunk of channels, row of W, height u in the kernel): one row of output meets one run
# of heights, so that of entries in the padding above and below an image none is read. Channels without any are not
# packed.

cdef enum:
    NEAR = 20 << 10   # bytes in the nearest cache, about
    ENTRIES = 14      # of a sum that pay for keeping it
    MANY = 1 << 15    # entries from which threads are worth waking to move them
    SUMMED = 1 << 24  # of all partial sums of a gradient, about


cdef struct Entries:  # of row o, chunk c, height u: starts[(c rows + o) span + u] <= k < the next
    const int32_t* starts
    const int32_t* at
    const int32_t* order  # where each stands among the values of the mask
    const void* values
    const void* start     # of each row's sums
    const int32_t* used   # channels
    int32_t* place        # of each row's dy, where that is read
    int64_t count, chunks, rows, span


cdef struct Meet:  # heights begin <= u < end that meet a row of the image
    int64_t begin, end


cdef Meet meeting(Image* x, Plan* plan, int64_t a) noexcept nogil:
    """Of output row a."""
    cdef Meet meet
    cdef int64_t top = plan.stride * a + plan.top
    meet.begin = min(max(0, -top), plan.span)
    meet.end = max(meet.begin, min(plan.span, x.height - top))
    return meet


cdef arrange(residue, row, channel, u, at, residues, rows, used, Plan plan, width):
    """(starts, at, order, used, chunks, longest) of entries, each with its bin and where in packed rows it reads.

    `used` are the channels that are packed, `channel` the place of an entry's among them. So many
    chunks that the input under four pixels stays near, if sums of a chunk have entries to speak of; the longest has
    `longest` entries.
    A mask keeps this for long: `at` counts pixels, and 16 bits are all that numbers get where they fit; see `load`.
    """
    if len(at) >= LIMIT:
        raise ValueError(f"{len(at)} entries are too many for a convolution: fewer than 2^31 are allowed")
    channels = len(used)
    near = channels * (plan.span + plan.stride) * plan.stride * (2 + plan.width - width) * PIXEL // NEAR
    chunks = max(1, min(near, channels, len(at) // max(ENTRIES * residues * rows, 1)))
    chunk = channel // max(-(-channels // chunks), 1)
    bins = ((residue * chunks + chunk) * rows + row) * plan.span + u
    starts, order = _sort(bins, residues * chunks * rows * plan.span)
    longest = int(np.diff(starts[:: max(residues * rows * plan.span, 1)]).max(initial=0)) if residues == 1 else 0
    return *(_narrow(part) for part in (starts, at[order] // PIXEL, order, used)), chunks, longest


cdef _narrow(index):
    return index.astype(np.uint16 if not len(index) or index.max() < 2**16 else np.int32)


cdef int64_t loaded_bytes(entries, int64_t rows, int64_t itemsize):
    """What `load` and `load_values` need, with room for cache lines."""
    starts, at, order, used, *_ = entries
    return ((len(starts) + 2 * len(at) + len(used) + rows) * sizeof(int32_t) + (len(at) + rows) * itemsize
            + 7 * CACHE_LINE)


cdef char* load(Entries* e, entries, int64_t rows, int64_t span, char* memory) except NULL:
    """What `arrange` gave, for the loops: 32 bits each, `at` in bytes; the next free line."""
    starts, at, order, used, e.chunks, _ = entries
    e.rows, e.span, e.count = rows, span, len(at)
    e.starts, memory = <int32_t*>memory, to_line(widened(starts, 1, memory))
    e.at, memory = <int32_t*>memory, to_line(widened(at, PIXEL, memory))
    e.used, memory = <int32_t*>memory, to_line(widened(used, 1, memory))
    e.order, memory = <int32_t*>memory, to_line(widened(order, 1, memory))
    e.place, memory = <int32_t*>memory, to_line(memory + rows * sizeof(int32_t))
    return memory


cdef void place_all(Entries* e) noexcept:
    """Each row's dy stands in its place."""
    cdef int64_t o
    for o in range(e.rows):
        e.place[o] = <int32_t>o


cdef void place_packed(Entries* e, Entries* turned, int64_t packed) noexcept:
    """Each row's dy stands where the transposed entries have it packed."""
    cdef int64_t i
    memset(e.place, 0, e.rows * sizeof(int32_t))
    for i in range(packed):
        e.place[turned.used[i]] = <int32_t>i


cdef char* load_values(Entries* e, values, bias, char* memory) except NULL:
    """Those of the entries, in their order, and what sums start from; the next free line."""
    cdef int64_t itemsize = values.itemsize
    values = np.ascontiguousarray(values)
    e.values, e.start = memory, to_line(memory + e.count * itemsize)
    if itemsize == sizeof(float):
        pick[float](<const float*>address(values), e.order, e.count, <float*>memory)
    else:
        pick[double](<const double*>address(values), e.order, e.count, <double*>memory)
    start_from(bias, e.rows, itemsize, <char*>e.start)
    return to_line(<char*>e.start + e.rows * itemsize)


cdef char* widened(index, int64_t unit, char* to) except NULL:
    """Numbers of 16 or 32 bits times `unit` to 32 bits each; where they end."""
    cdef int64_t k, count = len(index)
    cdef const char* source = address(index)
    if index.itemsize == sizeof(uint16_t):
        for k in range(count):
            (<int32_t*>to)[k] = <int32_t>(unit * (<const uint16_t*>source)[k])
    else:
        for k in range(count):
            (<int32_t*>to)[k] = <int32_t>(unit * (<const int32_t*>source)[k])
    return to + count * sizeof(int32_t)


cdef void pick(const floating* values, const int32_t* order, int64_t count, floating* to) noexcept:
    cdef int64_t k
    # order is a permutation
    for k in prange(count, nogil=True, schedule="static", use_threads_if=count > MANY):
        to[k] = values[order[k]]


cdef int64_t group_of(Image* x, Plan* plan, int64_t band) noexcept:
    """Output rows whose packed input is held at a time: of a small image all, so that no row is moved."""
    cdef int64_t rows = (BUDGET // max(row_bytes(x, plan), 1) - plan.span) // plan.stride + 1
    if min((band - 1) * plan.stride + plan.span, x.height) * row_bytes(x, plan) <= 2 * BUDGET:
        return band
    return min(band, max(2, rows // 2 * 2))


cdef void pack_rows(char* packed, Image* x, int64_t begin, int64_t end, bint more, int64_t group, Plan* plan,
                    int64_t first, int64_t nbytes, const int32_t* channels) noexcept nogil:
    """The input of output rows begin to end - 1, of these channels.

    `more`: on from that of the group before. Rows beyond the image stay as they are: no entry reads them.
    """
    cdef int64_t c, i, r, kept = 0, each = plan.stride * plan.width * PIXEL, row = x.channels * each
    if more:
        kept = max(0, plan.span - plan.stride)
        memmove(packed, packed + group * plan.stride * row, kept * row)
    for i in range(kept, (end - begin - 1) * plan.stride + plan.span):
        r = begin * plan.stride + plan.top + i
        if 0 <= r < x.height:
            for c in range(x.channels):
                pack_channel(packed + i * row + c * each, x, channels[c], r, plan, first, nbytes)


cdef class Scratch:
    """Uninitialised memory, as long as this lives."""
    cdef char* piece

    def __cinit__(self, int64_t nbytes):
        self.piece = borrow(nbytes + CACHE_LINE)
        if self.piece == NULL:
            raise MemoryError(f"no memory for the {nbytes} bytes that a convolution needs on the way: use a smaller batch")

    def __dealloc__(self):
        give_back(self.piece)

    cdef char* first(self) noexcept:
        """From a cache line on."""
        return to_line(self.piece + sizeof(size_t))


cdef int64_t in_lines(int64_t nbytes) noexcept:
    """Bytes of the cache lines that hold so many."""
    return (nbytes + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


def _sort(const int64_t[::1] bins, int64_t count):
    """(starts, order): the entries of bin b are order[starts[b]:starts[b + 1]], in their old order."""
    starts, order = np.zeros(count + 2, np.int32), np.empty(bins.shape[0], np.int32)
    cdef int32_t[::1] place = starts
    cdef int32_t[::1] to = order
    cdef int64_t k
    with nogil:
        # 0 <= bins[k] < count
        for k in range(bins.shape[0]):
            place[bins[k] + 2] += 1
        for k in range(count):
            place[k + 2] += place[k + 1]
        for k in range(bins.shape[0]):
            to[place[bins[k] + 1]] = <int32_t>k
            place[bins[k] + 1] += 1
    return starts[:count + 1], order
