# Both gradients of a convolution, dy packed once for the two: for spconv.pyx.
#
# It is packed as the gradient of x reads it, with zeros around, within which the gradient of w finds its pixels.

cdef struct Both:
    Entries* entries  # as they meet x
    Entries* turned   # and as they meet dy
    Image* x
    Image* dy
    Image* dx
    Plan* plan
    Plan* back
    int64_t residues, band, group
    int64_t slopes, chunk, sums, nbytes  # where packed dy, sums of dx and sums of dw stand behind packed x, and all


cdef gradients_of(entries, turned, values, dy, x, dw, dx, Plan plan, Plan back, int64_t residues, winner, size,
                  normal):
    """`sample` and, of the same tasks, `gather`."""
    (dy, winner), x, normal = as_packed(dy, winner), with_contiguous_batch(x), as_rows(normal)
    cdef Image source = image_of(x), slope = image_of(dy), target = image_of(dx)
    pooled_by(&slope, winner, size)
    normalised_by(&source, normal)
    cdef Shares shares = shares_of(entries, &source, &slope, &plan)
    source.channels, slope.channels = len(entries[3]), len(turned[3])
    cdef Entries e, t
    cdef Both both
    both.entries, both.turned, both.x, both.dy, both.dx = &e, &t, &source, &slope, &target
    both.plan, both.back, both.residues, both.band = &plan, &back, residues, shares.band
    both.group = min(group_of(&source, &plan, both.band), group_of(&slope, &back, both.band))
    if shares.chunks > 1:  # whose sums do not stay from group to group
        both.group = both.band
    both.slopes = ((both.group - 1) * plan.stride + plan.span) * row_bytes(&source, &plan)
    both.chunk = both.slopes + (both.group - 1 + back.span) * row_bytes(&slope, &back)
    both.sums = both.chunk + 4 * PIXEL * target.channels
    both.nbytes = both.sums + shares.longest * LINE
    cdef int64_t tables = loaded_bytes(entries, len(dy), dy.itemsize) + loaded_bytes(turned, len(dx), dy.itemsize)
    cdef Scratch memory = Scratch(tables + shares.nbytes + omp_get_max_threads() * both.nbytes)
    cdef char* room = load(&t, turned, len(dx), back.span, load(&e, entries, len(dy), plan.span, memory.first()))
    cdef char* partial = load_values(&t, values, None, room)
    place_packed(&e, &t, len(turned[3]))
    gradient_parts(&both, &shares, partial, partial + shares.nbytes)
    add_up(&e, partial, shares.parts, dw)


cdef void gradient_parts(Both* both, Shares* shares, char* partial, char* room):
    cdef int64_t part, size = both.entries.count * both.dy.itemsize
    # Pattern and the tables of offsets: entries of row o lie in [0, K), offsets in the packed rows
    for part in prange(shares.parts, nogil=True, schedule="dynamic", num_threads=team(True)):
        if both.dy.itemsize == sizeof(float):
            gradient_part(<vf32*>(room + threadid() * both.nbytes), both, partial + part * size,
                          part * shares.tasks // shares.parts, (part + 1) * shares.tasks // shares.parts)
        else:
            gradient_part(<vf64*>(room + threadid() * both.nbytes), both, partial + part * size,
                          part * shares.tasks // shares.parts, (part + 1) * shares.tasks // shares.parts)


cdef void gradient_part(vector* packed, Both* both, char* dw, int64_t task, int64_t end) noexcept nogil:
    cdef int64_t bands = (both.dy.height + both.band - 1) // both.band
    memset(dw, 0, both.entries.count * both.dy.itemsize)
    while task < end:
        gradient_band(packed, both, dw, task // bands * PIXEL, task % bands * both.band)
        task += 1
    fence()


cdef void gradient_band(vector* packed, Both* both, char* dw, int64_t first, int64_t begin) noexcept nogil:
    """From row `begin` of dy on; the last band has the rows of dx that are below dy, too."""
    cdef int64_t end, middle = min(begin + both.band, both.dy.height), last = middle
    cdef int64_t nbytes = min(PIXEL, both.dy.nbytes - first), row = row_bytes(both.dy, both.back)
    cdef char* slopes = <char*>packed + both.slopes
    cdef Image seen = both.dy[0]
    cdef bint more = False
    seen.data = slopes - both.back.top * row - both.back.left * PIXEL
    seen.by_row, seen.by_channel, seen.by_pixel = row, both.back.width * PIXEL, PIXEL
    if middle == both.dy.height:
        last = max(middle, (both.dx.height + both.residues - 1) // both.residues)
    while begin < last:
        end = min(begin + both.group, last)
        pack_rows(slopes, both.dy, begin, end, more, both.group, both.back, first, nbytes, both.turned.used)
        gather_group(<vector*>slopes, both.turned, both.dy, both.dx, both.back, both.residues, first, begin, end,
                     <vector*>(<char*>packed + both.chunk))
        if begin < middle:
            pack_rows(<char*>packed, both.x, begin, min(end, middle), more, both.group, both.plan, first, nbytes,
                      both.entries.used)
            sample_chunks(packed, both.entries, &seen, both.x, dw, both.plan, begin, min(end, middle),
                          <vector*>(<char*>packed + both.sums), more, end >= middle)
        begin, more = end, True
