"""Compiled twin of dense_ref.py, which is its specification.

* one product c = a b for all, b in panels of two vectors, its rows contiguous: read where they lie or, of a
  transpose (eq. 3), turned a block at a time
* some rows of a panel are summed in registers over some hundred terms (tile.h); those of a, and of a panel of b, stay
  in the near caches
* a bias is added, and what is negative set to zero, while a tile's last sums are in the nearest cache
* a is read as it lies, row by row or column by column; where a tile or a panel has an end, a copy has zeros
* threads own rows of c, or panels where there are many: each sum is one thread's, in one order
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

import numpy as np

from minisparse._core.allocator import empty_array
from minisparse._core.bias_ref import check_bias
from minisparse._core.dense_ref import check_product

include "address.pxi"
include "bias_row.pxi"
include "team.pxi"

cdef extern from "lanes.h" nogil:
    enum: VECTOR_BYTES
    ctypedef float vf32
    ctypedef double vf64
    void transpose32(const char*, int64_t, char*, int64_t)
    void transpose64(const char*, int64_t, char*, int64_t)

cdef extern from "tile.h" nogil:
    enum: OUTPUTS
    void rows32(const char*, int64_t, int64_t, const char*, int64_t, int64_t, char*, int64_t, bint)
    void rows64(const char*, int64_t, int64_t, const char*, int64_t, int64_t, char*, int64_t, bint)

ctypedef fused vector:
    vf32
    vf64

cdef enum:
    LINE = VECTOR_BYTES
    WIDE = 2 * LINE   # bytes of a row of a panel
    ROWS = OUTPUTS    # of a tile
    PANELS = 4    # of b that stay near while all rows of a pass
    DEPTH = 256   # most terms of a sum before the next tile has its turn
    MANY = 1 << 20  # multiplications that are worth a second thread


cdef struct Product:  # c (rows, columns) = a (rows, depth) b (depth, columns); steps in bytes
    const char* a
    const char* b
    char* c
    int64_t rows, columns, depth, a_row, a_column, b_row, b_column, c_row, itemsize, panels, terms
    const char* bias  # NULL, or of each row of c
    bint rectified    # whether what is negative with its bias becomes zero


def matmul(w, x):
    check_product("w", w, 1, "x", x, 0)
    return product(w, False, x, False)


def rmatmul(w, dy):
    check_product("w", w, 0, "dy", dy, 0)
    return product(w, True, dy, False)


def outer(dy, x):
    check_product("dy", dy, 1, "x", x, 1)
    return product(dy, False, x, True)


def affine(w, x, b, rectified=False):
    check_product("w", w, 1, "x", x, 0)
    check_bias(b, len(w), w.dtype)
    return product(w, False, x, False, np.ascontiguousarray(b), rectified)


cdef product(a, bint a_turned, b, bint b_turned, bias=None, bint rectified=False):
    """a b, with the transpose of an operand that is `turned`; and a bias, contiguous."""
    cdef Product p
    if not b.shape[b_turned]:
        # no terms: one, of zeros
        a, b = np.zeros((a.shape[a_turned], 1), a.dtype), np.zeros((1, b.shape[not b_turned]), b.dtype)
        a_turned = b_turned = False
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    c = empty_array((a.shape[a_turned], b.shape[not b_turned]), a.dtype)
    p.rows, p.columns, p.depth, p.itemsize = c.shape[0], c.shape[1], b.shape[b_turned], c.itemsize
    p.a, p.b, p.c = address(a), address(b), address(c, PyBUF_WRITABLE)
    p.a_row, p.a_column = p.depth * p.itemsize, p.itemsize
    if a_turned:
        p.a_row, p.a_column = p.itemsize, p.rows * p.itemsize
    p.b_row, p.b_column = p.columns * p.itemsize, p.itemsize
    if b_turned:
        p.b_row, p.b_column = p.itemsize, p.depth * p.itemsize
    p.bias, p.rectified = NULL if bias is None else address(bias), rectified
    if c.size:
        fill(&p)
    return c


cdef void fill(Product* p):
    p.c_row, p.panels = p.columns * p.itemsize, (p.columns * p.itemsize + WIDE - 1) // WIDE
    cdef int64_t chunks = (p.depth + DEPTH - 1) // DEPTH
    p.terms = (p.depth + chunks - 1) // chunks
    cdef int64_t tiles = (p.rows + ROWS - 1) // ROWS, groups = (p.panels + PANELS - 1) // PANELS
    cdef int threads = team(p.rows * p.columns * p.depth > MANY)
    # groups of panels by shares of their tiles, as many as come out even
    cdef int64_t task, left, right, shares = 1 if groups % threads == 0 else threads
    # rows of a tile lie in [0, rows), terms in [0, depth); packed panels have zeros where b ends
    for task in prange(groups * shares, nogil=True, schedule="static", num_threads=threads):
        left, right = p.panels * (task % groups) // groups, p.panels * (task % groups + 1) // groups
        if p.itemsize == sizeof(float):
            block_of(<vf32*>NULL, p, left, right, tiles * (right - left) * (task // groups) // shares,
                     tiles * (right - left) * (task // groups + 1) // shares)
        else:
            block_of(<vf64*>NULL, p, left, right, tiles * (right - left) * (task // groups) // shares,
                     tiles * (right - left) * (task // groups + 1) // shares)


cdef void block_of(const vector* _, Product* p, int64_t left, int64_t right, int64_t begin,
                   int64_t end) noexcept nogil:
    """Tiles begin to end - 1 of panels left to right - 1, counted along rows."""
    cdef char[DEPTH * PANELS * WIDE + LINE] room
    cdef char[ROWS * DEPTH * 8] rest
    cdef vector* packed = <vector*>(<size_t>(room + LINE - 1) // LINE * LINE)
    cdef int64_t first = 0, depth, tile, i, panel, row, a_row, a_column, wide = right - left
    cdef const char* a
    cdef bint turned = p.b_column != p.itemsize
    while first < p.depth:
        depth = min(p.terms, p.depth - first)
        for panel in range(left, right):
            if turned or (panel + 1) * WIDE > p.c_row:
                pack(p, panel, first, depth, packed + 2 * DEPTH * (panel - left))
        for tile in range(begin // wide, (end + wide - 1) // wide):
            row = tile * ROWS
            a, a_row, a_column = p.a + row * p.a_row + first * p.a_column, p.a_row, p.a_column
            if row + ROWS > p.rows:
                fill_up(<vector*>rest, p, a, p.rows - row, depth)
                a, a_row, a_column = rest, depth * p.itemsize, p.itemsize
            for i in range(max(begin - tile * wide, 0), min(end - tile * wide, wide)):
                panel = left + i
                if turned or (panel + 1) * WIDE > p.c_row:
                    tile_of(p, a, a_row, a_column, row, panel, first, depth, packed + 2 * DEPTH * i, WIDE)
                else:
                    tile_of(p, a, a_row, a_column, row, panel, first, depth,
                            <const vector*>(p.b + first * p.b_row + panel * WIDE), p.b_row)
        first += depth


cdef void pack(Product* p, int64_t panel, int64_t first, int64_t depth, vector* packed) noexcept nogil:
    """Terms first to first + depth - 1 of a panel of b, side by side; columns that are not there are zero."""
    cdef int64_t many = LINE // p.itemsize, columns = min(2 * many, p.columns - panel * 2 * many), column = 0, k
    cdef const char* b = p.b + panel * 2 * many * p.b_column + first * p.b_row
    cdef char* to = <char*>packed
    if columns < 2 * many:
        memset(to, 0, depth * WIDE)
    while column < columns:
        k = 0
        while column + many <= columns and k + many <= depth and p.b_row == p.itemsize:
            if vector is vf32:
                transpose32(b + k * p.b_row, p.b_column, to + k * WIDE, WIDE)
            else:
                transpose64(b + k * p.b_row, p.b_column, to + k * WIDE, WIDE)
            k += many
        copy_block(packed, b + k * p.b_row, p.b_row, p.b_column, to + k * WIDE, WIDE, depth - k,
                   min(many, columns - column))
        b += many * p.b_column
        to += LINE
        column += many


cdef void fill_up(vector* to, Product* p, const char* a, int64_t rows, int64_t depth) noexcept nogil:
    """The last rows of a, side by side, and rows of zeros up to a tile."""
    memset(to, 0, ROWS * depth * p.itemsize)
    copy_block(to, a, p.a_row, p.a_column, <char*>to, depth * p.itemsize, rows, depth)


cdef void copy_block(const vector* _, const char* source, int64_t row, int64_t column, char* to, int64_t to_row,
                     int64_t rows, int64_t columns) noexcept nogil:
    """Number by number; those of a row lie side by side at `to`."""
    cdef int64_t i, k
    for i in range(rows):
        for k in range(columns):
            if vector is vf32:
                (<float*>(to + i * to_row))[k] = (<const float*>(source + i * row + k * column))[0]
            else:
                (<double*>(to + i * to_row))[k] = (<const double*>(source + i * row + k * column))[0]


cdef void tile_of(Product* p, const char* a, int64_t a_row, int64_t a_column, int64_t row, int64_t panel,
                  int64_t first, int64_t depth, const vector* b, int64_t b_row) noexcept nogil:
    """Adds `depth` terms to the rows of a tile, of a panel of c, or sets these where the terms are the first."""
    cdef int64_t i, count = min(ROWS, p.rows - row), nbytes = min(WIDE, p.c_row - panel * WIDE)
    cdef vector[2 * ROWS] sums
    cdef char* c = p.c + row * p.c_row + panel * WIDE
    if count == ROWS and nbytes == WIDE:
        rows_of(a, a_row, a_column, b, b_row, depth, c, p.c_row, first > 0)
    else:
        memset(sums, 0, sizeof(sums))
        for i in range(count if first else 0):
            memcpy(&sums[2 * i], c + i * p.c_row, nbytes)
        rows_of(a, a_row, a_column, b, b_row, depth, <char*>sums, WIDE, True)
        for i in range(count):
            memcpy(c + i * p.c_row, &sums[2 * i], nbytes)
    if p.bias != NULL and first + depth == p.depth:
        for i in range(count):
            # a constant where it can be, for a loop without a count
            if nbytes == WIDE:
                add_bias(c + i * p.c_row, WIDE, p.bias, row + i, vector is vf32, p.rectified)
            else:
                add_bias(c + i * p.c_row, nbytes, p.bias, row + i, vector is vf32, p.rectified)


cdef inline void rows_of(const char* a, int64_t row, int64_t step, const vector* b, int64_t b_row, int64_t depth,
                         char* c, int64_t c_row, bint more) noexcept nogil:
    """ROWS rows by two vectors of c; they go on from what is there where there is `more`."""
    if vector is vf32:
        rows32(a, row, step, <const char*>b, b_row, depth, c, c_row, more)
    else:
        rows64(a, row, step, <const char*>b, b_row, depth, c, c_row, more)
