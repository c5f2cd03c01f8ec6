# Entries of a mask as the loops over pixels meet them: for spconv.pyx.
#
# They stand in bins (residue, chunk of channels, row of W, height u in the kernel): one row of output meets one run
# of heights, so that of entries in the padding above and below an image none is read. Channels without any are not
# packed.

cdef enum:
    NEAR = 20 << 10  # bytes in the nearest cache, about
    ENTRIES = 14     # of a sum that pay for keeping it
    MANY = 1 << 15   # entries from which threads are worth waking to move them


cdef struct Entries:  # of row o, chunk c, height u: starts[(c rows + o) span + u] <= k < the next
    const int32_t* starts
    const int32_t* at
    const void* values
    const void* start    # of each row's sums
    const int32_t* used  # channels
    int64_t chunks, rows, span


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
    """(starts, at, order, used, chunks) of entries, each with its bin and where in packed rows it reads.

    `used` are the channels that are packed, `channel` the place of an entry's among them. So many
    chunks that the input under four pixels stays near, if sums of a chunk have entries to speak of.
    A mask keeps this for long: `at` counts pixels, and 16 bits are all that numbers get where they fit; see `loaded`.
    """
    if len(at) >= LIMIT:
        raise ValueError(f"{len(at)} entries are too many for a convolution: fewer than 2^31 are allowed")
    channels = len(used)
    near = channels * (plan.span + plan.stride) * plan.stride * (2 + plan.width - width) * PIXEL // NEAR
    chunks = max(1, min(near, channels, len(at) // max(ENTRIES * residues * rows, 1)))
    chunk = channel // max(-(-channels // chunks), 1)
    bins = ((residue * chunks + chunk) * rows + row) * plan.span + u
    starts, order = _sort(bins, residues * chunks * rows * plan.span)
    return *(_narrow(part) for part in (starts, at[order] // PIXEL, order, used)), chunks


cdef _narrow(index):
    return index.astype(np.uint16) if not len(index) or index.max() < 2**16 else index


cdef loaded(entries):
    """What `arrange` gave, for the loops: `at` in bytes, 32 bits each."""
    *parts, chunks = entries
    starts, at, order, used = (part.astype(np.int32) for part in parts)
    at *= PIXEL
    return starts, at, order, used, chunks


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


cdef scratch(int64_t nbytes):
    """Memory for each thread: (threads, nbytes)."""
    return empty_array((omp_get_max_threads(), -(-nbytes // LINE) * LINE), np.dtype(np.int8))


cdef taken(values, order):
    """values[order]."""
    found = np.empty(len(order), values.dtype)
    _take(np.ascontiguousarray(values), order, found)
    return found


def _take(const floating[::1] values, const int32_t[::1] order, floating[::1] found):
    cdef int64_t k
    # order is a permutation
    for k in prange(order.shape[0], nogil=True, schedule="static", use_threads_if=order.shape[0] > MANY):
        found[k] = values[order[k]]


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
