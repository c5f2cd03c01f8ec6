"""Compiled twin of topk_ref.py, which is its specification.

* radix selection: the threshold is found sixteen bits at a time from a histogram, two passes over
  float32 and four over float64, no copy and no sort
* a float's bits, with the sign folded in, are an integer of the same order
"""

from cython cimport floating
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from minisparse._core.topk_ref import check_scores

cdef enum:
    BINS = 65536


cdef inline uint64_t rank_of(floating score) noexcept nogil:
    """An integer with the order of the scores, in the upper bits; -0 and +0 share one."""
    cdef uint32_t word
    cdef uint64_t long_word
    score = score + 0
    if floating is float:
        memcpy(&word, &score, 4)
        word = ~word if word >> 31 else word | <uint32_t>0x80000000
        return <uint64_t>word << 32
    else:
        memcpy(&long_word, &score, 8)
        return ~long_word if long_word >> 63 else long_word | <uint64_t>0x8000000000000000


cdef int64_t count_digits(const floating[::1] scores, uint64_t prefix, int shift, int64_t[::1] histogram) noexcept nogil:
    """Adds one to histogram[next 16 bits] for each rank that starts with prefix; counts NaN."""
    cdef int64_t i, nans = 0
    cdef uint64_t rank
    for i in range(scores.shape[0]):
        nans += scores[i] != scores[i]
        rank = rank_of(scores[i])
        # a shift by 64 is undefined, and the first digit has no prefix to match
        if shift == 48 or rank >> (shift + 16) == prefix:
            # masked by BINS - 1 < len(histogram)
            histogram[(rank >> shift) & (BINS - 1)] += 1
    return nans


cdef int64_t mark(const floating[::1] scores, uint64_t theta, int64_t ties, uint8_t[::1] keep) noexcept nogil:
    """keep = rank > theta, or = theta for the first `ties` of them; returns the ties that are left."""
    cdef int64_t i
    cdef uint64_t rank
    # keep has the length of scores
    for i in range(scores.shape[0]):
        rank = rank_of(scores[i])
        keep[i] = rank > theta
        if rank == theta and ties > 0:
            keep[i] = 1
            ties -= 1
    return ties


def topk(scores, k):
    scores, k = check_scores(scores, k)
    if scores and scores[0].dtype == np.float64:
        return select[double](scores, k, 4)
    return select[float](scores, k, 2)


cdef select(list scores, int64_t k, int digits, floating unused=0):
    cdef int64_t[::1] histogram = np.empty(BINS, np.int64)
    cdef const floating[::1] flat
    cdef uint8_t[::1] keep
    cdef uint64_t theta = 0
    cdef int64_t ties = k, nans
    cdef int digit, shift, value
    masks = [np.zeros(s.shape, np.bool_) for s in scores]
    for digit in range(digits):
        shift = 48 - 16 * digit
        nans = 0
        memset(&histogram[0], 0, BINS * sizeof(int64_t))
        for array in scores:
            flat = array.reshape(-1)
            with nogil:
                nans += count_digits[floating](flat, theta, shift, histogram)
        if nans:
            raise ValueError(f"scores hold {nans} NaN: a NaN has no rank")
        if k == 0:
            return masks
        # ties <= the sum of the histogram, so the walk ends at value >= 0
        value = BINS - 1
        while histogram[value] < ties:
            ties -= histogram[value]
            value -= 1
        theta = theta << 16 | <uint64_t>value
    theta <<= 64 - 16 * digits
    for array, mask in zip(scores, masks):
        flat = array.reshape(-1)
        keep = mask.reshape(-1).view(np.uint8)
        with nogil:
            ties = mark[floating](flat, theta, ties, keep)
    return masks
