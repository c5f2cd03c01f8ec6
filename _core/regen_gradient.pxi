# Tiles of dW = dy x^T, and the candidates among their entries. For regen.pyx.

cdef void outer(const char *dy, const char *xt, char *y, int64_t rows, int64_t stride, int64_t n, int64_t row,
                int64_t at, vector zero, scalar none) noexcept nogil:
    """DOWN rows from `row` on, PART columns from byte `at` of a row on; strides in bytes, rows a multiple of four."""
    cdef int64_t end = min(stride, at + PART * <int64_t>sizeof(scalar)), last = min(rows, row + DOWN)
    cdef int64_t first, depth, width, vectors, j, k, column
    cdef vector edge[4]
    while at < end:
        vectors = min(4, (end - at) // VECTOR_BYTES)
        vectors = 2 if vectors == 3 else vectors
        width = vectors * VECTOR_BYTES if vectors else end - at
        for j in range(row, last):
            memset(y + j * stride + at, 0, width)
        first = 0
        while first < n:
            depth = min(DEEP, n - first)
            for j in range(row, last, 4):
                if vectors:
                    call[vector](dy + (j * n + first) * <int64_t>sizeof(scalar), n, 1, depth, xt + first * stride + at,
                                 stride, y + j * stride + at, stride, vectors, zero)
                    continue
                # a vector that ends with the row, of which the lanes are taken that no other vector has had
                edge[0] = edge[1] = edge[2] = edge[3] = zero
                call[vector](dy + (j * n + first) * <int64_t>sizeof(scalar), n, 1, depth,
                             xt + first * stride + stride - VECTOR_BYTES, stride, <char *>edge, VECTOR_BYTES, 1, zero)
                for k in range(4):
                    for column in range(-width // <int64_t>sizeof(scalar), 0):
                        (<scalar *>(y + (j + k + 1) * stride))[column] += (<scalar *>(edge + k + 1))[column]
            first += depth
        at += width


cdef void choose(const Weight *w, int64_t first, int64_t row, int64_t last, const scalar *gradient, scalar rate,
                 scalar threshold, int64_t place, int64_t *index, scalar *found, scalar *score,
                 int64_t *counts) noexcept nogil:
    """Candidates of rows row to last - 1 of a tile that begins at row `first`; counts: those found, and NaN.

    They go to where the first of these rows has its place, which has room for all entries of them.
    """
    cdef scalar rest[PART]
    cdef scalar s[PART]
    cdef const scalar *g
    cdef int64_t at = row * w.columns, column, width, i, j, k, end, group, begin, stop, flat
    cdef int passes, strange
    while row < last:
        column, end = 0, w.indptr[first + row + 1]
        while column < w.columns:
            width, g = min(PART, w.columns - column), gradient + row * w.columns + column
            at_rest[scalar](w, first + row, column, width, rest)
            # two loops, so that no product is contracted into a difference: each operation is rounded
            for i in range(width):
                s[i] = rate * g[i]
            for i in range(width):
                s[i] = fabs((rest[i] - s[i]) - rest[i])
            k = entry_from(w, first + row, column)
            while k < end and w.indices[k] < column + width:
                s[w.indices[k] - column] = -1
                k += 1
            for group in range((width + GROUP - 1) // GROUP):
                passes = strange = 0
                begin, stop = group * GROUP, min((group + 1) * GROUP, width)
                for i in range(begin, stop):
                    passes += s[i] >= threshold
                    strange += s[i] != s[i]
                counts[1] += strange
                if passes == 0:
                    continue
                for i in range(begin, stop):
                    flat = (first + row) * w.columns + column + i
                    if s[i] > threshold or (s[i] == threshold and flat < place):
                        # at most one a look at an entry, so within the room
                        j = at + counts[0]
                        index[j], found[j], score[j] = flat, g[i], s[i]
                        counts[0] += 1
            column += width
        row += 1
