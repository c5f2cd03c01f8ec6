"""Compiled twin of topk_ref.py, which is its specification.

* a stratified sample brackets the threshold, so that one vectorised pass counts what lies above the bracket and
  collects the few scores inside; a sample that misleads costs a second pass, never exactness
* the threshold itself is found among those few by radix selection, eleven bits at a time
* a float's bits, with the sign folded in, are an integer of the same order
* the masks are written by one vectorised comparison
"""

from cython cimport floating
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from minisparse._core.topk_ref import check_scores

cdef enum:
    BINS = 2048
    BLOCK = 64
    SMALL = 8192  # scores that need no sample
    SAMPLE = 65536  # most scores in a sample


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


cdef inline floating score_of(uint64_t rank, floating like) noexcept nogil:
    """The score of this rank."""
    cdef uint32_t word = <uint32_t>(rank >> 32)
    cdef uint64_t long_word
    cdef floating score
    if floating is float:
        word = word & <uint32_t>0x7FFFFFFF if word >> 31 else ~word
        memcpy(&score, &word, 4)
    else:
        long_word = rank & <uint64_t>0x7FFFFFFFFFFFFFFF if rank >> 63 else ~rank
        memcpy(&score, &long_word, 8)
    return score


cdef uint64_t kth_largest(uint64_t* ranks, int64_t n, int64_t* k, int64_t* equal) noexcept nogil:
    """The k-th largest of n >= k >= 1 ranks, which are overwritten; k becomes its place among its `equal` ties."""
    cdef uint64_t low, high
    cdef int64_t histogram[BINS]
    cdef int64_t i, kept
    cdef int shift, value
    while True:
        low = high = ranks[0]
        for i in range(n):
            low = min(low, ranks[i])
            high = max(high, ranks[i])
        if low == high:
            equal[0] = n
            return low
        shift = 0
        while (high - low) >> shift >= BINS:
            shift += 1
        memset(histogram, 0, sizeof(histogram))
        # low <= rank <= high: the index is below BINS
        for i in range(n):
            histogram[(ranks[i] - low) >> shift] += 1
        value = BINS - 1
        # k <= the sum of the histogram, so the walk ends at value >= 0
        while histogram[value] < k[0]:
            k[0] -= histogram[value]
            value -= 1
        kept = 0
        for i in range(n):
            ranks[kept] = ranks[i]
            kept += <int>((ranks[i] - low) >> shift) == value
        n = kept


cdef int64_t draw(const floating[::1] scores, int64_t stride, uint64_t* sample) noexcept nogil:
    """One score of each whole stride, at a place that looks random; returns how many."""
    cdef int64_t i, n = scores.shape[0] // stride
    cdef uint32_t hash
    for i in range(n):
        # hash / 2^32 * stride < stride
        hash = <uint32_t>i * <uint32_t>0x9E3779B1
        sample[i] = rank_of(scores[i * stride + <int64_t>(<uint64_t>hash * <uint64_t>stride >> 32)])
    return n


cdef int64_t collect(const floating[::1] scores, floating low, floating high, floating* found, int64_t* size,
                     int64_t* above) noexcept nogil:
    """Appends the scores in [low, high] to found, counts those above into `above`; returns the NaN."""
    cdef int64_t block, i, j, n = scores.shape[0], blocks = n // BLOCK, nans = 0, m = size[0]
    cdef int group, higher, inside, strange
    cdef uint8_t flags[BLOCK]
    cdef uint64_t eight
    cdef const floating* x
    # found has a place for each score that was looked at, and block * BLOCK + j < n
    for block in range(blocks):
        x = &scores[block * BLOCK]
        higher = inside = strange = 0
        for j in range(BLOCK):
            higher += x[j] > high
            inside += x[j] >= low
            strange += x[j] != x[j]
        above[0] += higher
        nans += strange
        if inside > higher:
            for j in range(BLOCK):
                flags[j] = (x[j] >= low) & (x[j] <= high)
            for group in range(BLOCK // 8):
                memcpy(&eight, &flags[8 * group], 8)
                if eight:
                    for j in range(8 * group, 8 * group + 8):
                        found[m] = x[j]
                        m += flags[j]
    for i in range(blocks * BLOCK, n):
        above[0] += scores[i] > high
        nans += scores[i] != scores[i]
        if low <= scores[i] <= high:
            found[m] = scores[i]
            m += 1
    size[0] = m
    return nans


cdef int64_t mark(const floating[::1] scores, floating theta, int64_t ties, bint all_ties,
                  uint8_t[::1] keep) noexcept nogil:
    """keep = score > theta, or = theta for the first `ties` of them; returns the ties that are left."""
    cdef int64_t i, n = scores.shape[0]
    # keep has the length of scores
    if all_ties:
        for i in range(n):
            keep[i] = scores[i] >= theta
        return ties
    for i in range(n):
        keep[i] = scores[i] > theta
    for i in range(n):
        if ties == 0:
            break
        if scores[i] == theta:
            keep[i] = 1
            ties -= 1
    return ties


def topk(scores, k):
    scores, k = check_scores(scores, k)
    if scores and scores[0].dtype == np.float64:
        return select[double](scores, k)
    return select[float](scores, k)


cdef (double, double) bracket(list flats, int64_t total, int64_t k, floating like):
    """Two scores that the k-th largest very probably lies between."""
    cdef int64_t stride = max(total // SAMPLE, 32), n = 0, place, equal, margin
    cdef uint64_t[::1] sample, copy
    cdef const floating[::1] flat
    cdef double low = -INFINITY, high = INFINITY, share = <double>k / total
    if total <= SMALL:
        return low, high
    sample = np.empty(total // stride + 1, np.uint64)
    for flat in flats:
        n += draw[floating](flat, stride, &sample[n])
    # standard deviations of the sample's count, and some
    margin = <int64_t>(3.5 * sqrt(n * share * (1 - share))) + 4
    copy = sample.copy()
    place = <int64_t>(n * share) - margin
    if place >= 1:
        high = score_of[floating](kth_largest(&copy[0], n, &place, &equal), like)
    place = <int64_t>(n * share) + margin
    if place <= n:
        low = score_of[floating](kth_largest(&sample[0], n, &place, &equal), like)
    return low, high


cdef select(list scores, int64_t k, floating like=0):
    cdef const floating[::1] flat
    cdef floating[::1] found
    cdef uint64_t[::1] ranks
    cdef uint8_t[::1] keep
    cdef floating theta
    cdef int64_t i, total = sum([array.size for array in scores]), size, above, nans, equal = 0, ties
    cdef double low = INFINITY, high = INFINITY
    cdef int attempt
    cdef bint all_ties
    flats = [array.reshape(-1) for array in scores]
    if k:
        low, high = bracket[floating](flats, total, k, like)
    # one more than there are, so that its first element has an address
    found = np.empty(total + 1, np.float32 if floating is float else np.float64)
    for attempt in range(2):
        size = above = nans = 0
        for flat in flats:
            with nogil:
                nans += collect[floating](flat, <floating>low, <floating>high, &found[0], &size, &above)
        if nans:
            raise ValueError(f"scores hold {nans} NaN: a NaN has no rank")
        if k == 0:
            return [np.zeros(array.shape, np.bool_) for array in scores]
        if above < k <= above + size:
            break
        low, high = -INFINITY, INFINITY
    ties = k - above
    ranks = np.empty(size, np.uint64)
    for i in range(size):
        ranks[i] = rank_of(found[i])
    theta = score_of[floating](kth_largest(&ranks[0], size, &ties, &equal), like)
    all_ties = ties == equal
    masks = [np.empty(array.shape, np.bool_) for array in scores]
    for flat, mask in zip(flats, masks):
        keep = mask.reshape(-1).view(np.uint8)
        with nogil:
            ties = mark[floating](flat, theta, ties, all_ties, keep)
    return masks
