"""Exact selection: the k largest entries over many arrays at once, under one global threshold.

With theta the k-th largest score, everything above theta is kept, and of the entries equal to theta
the first ones, in the order of the arrays and of the indices within each, until k are kept. So
exactly k entries are kept whatever ties there are, and the choice never depends on a sort's whim.
"""

import operator
from collections.abc import Sequence

import numpy as np


def topk(scores: Sequence[np.ndarray], k: int) -> list[np.ndarray]:
    """Masks of the k largest scores over all arrays; ties go to the lower index.

    Parameters
    ----------
    scores : arrays of float32, or all of float64, of any shapes; infinities are allowed, -0 ties with 0
    k : int in [0, total size]

    Returns
    -------
    One bool array a score array, same shape, with exactly k True in all.

    Raises
    ------
    ValueError : a NaN score, mixed dtypes, or k outside its range.
    """
    scores, k = check_scores(scores, k)
    flat = np.concatenate([s.ravel() for s in scores]) if scores else np.zeros(0, np.float32)
    if np.isnan(flat).any():
        raise ValueError(f"scores hold {np.isnan(flat).sum()} NaN: a NaN has no rank")
    keep = np.zeros(flat.size, bool)
    if k > 0:
        theta = np.partition(flat, flat.size - k)[flat.size - k]
        keep[flat > theta] = True
        ties = np.flatnonzero(flat == theta)
        keep[ties[: k - np.count_nonzero(keep)]] = True
    borders = np.cumsum([s.size for s in scores])[:-1]
    return [part.reshape(s.shape) for part, s in zip(np.split(keep, borders), scores, strict=True)] if scores else []


def check_scores(scores: Sequence[np.ndarray], k: int) -> tuple[list[np.ndarray], int]:
    """The scores as C-ordered arrays of one float dtype, k as a Python integer; or ValueError."""
    k = operator.index(k)
    scores = [np.ascontiguousarray(s).reshape(np.shape(s)) for s in scores]
    dtypes = {s.dtype for s in scores}
    if not dtypes <= {np.dtype(np.float32)} and not dtypes <= {np.dtype(np.float64)}:
        raise ValueError(f"scores must all be float32 or all float64, not {sorted(map(str, dtypes))}")
    total = sum(s.size for s in scores)
    if not 0 <= k <= total:
        raise ValueError(f"k={k} must lie in [0, {total}], the number of scores")
    return scores, k


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        normal = [generator.normal(size=shape).astype(dtype) for shape in ((7, 5), (0,), (1,), (300,))]
        ties = [generator.integers(-2, 3, size=50).astype(dtype), np.zeros((4, 4), dtype)]
        extremes = [np.array([0.0, -0.0, np.inf, -np.inf, np.finfo(dtype).tiny, -1e-30, 1e30], dtype)]
        for scores in (normal, ties, extremes, [np.zeros(0, dtype)]):
            total = sum(s.size for s in scores)
            for k in sorted({0, min(1, total), total // 3, max(total - 1, 0), total}):
                yield "topk", (scores, k)
    yield "topk", ([], 0)
