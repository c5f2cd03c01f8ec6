"""Quantisation: a uniform quantiser with straight-through gradients, and shared values (a codebook).

    v = x / s,   q(x) = s round(clip(v, l, h)),   l <= 0 <= h integers, halves to even                    (1)
    dx = dy where l < v < h, 0 elsewhere: also exactly at the bounds                                      (2)
    ds = sum dy e,   e = round(v) - v where l < v < h, l where v <= l, h where v >= h                     (3)

Zero is a level and every zero that comes out is +0. A NaN stays NaN and is outside the range: no gradient, no part in
(3). Arithmetic is in the dtype of x; (3) is summed in float64 in one order, whatever the number of threads: LANES sums
over every LANES-th term of a chunk of CHUNK, the lanes of each chunk, then the chunks.

Source: Bengio, Leonard and Courville (2013), arXiv 1308.3432, straight-through estimator; Esser et al. (2020), arXiv
1902.08153, eq. 1 to 3 (learned step size); Han, Mao and Dally (2016), arXiv 1510.00149, section 3 (shared values).
"""

import math
import operator

import numpy as np

LANES, CHUNK = 16, 1 << 16
LARGEST = 2**20
"""Bound of |l| and h."""


def fake_quantise(x: np.ndarray, step: float, low: int, high: int, out: np.ndarray | None = None) -> np.ndarray:
    """q(x), eq. 1, in the shape of x.

    Parameters
    ----------
    x : float32 or float64 of any shape; infinities are clipped
    step : s > 0, rounded to the dtype of x
    low, high : -2^20 <= low <= 0 <= high <= 2^20, low < high
    out : where to write the result, contiguous, of the shape and dtype of x; x itself is allowed. None takes new
        memory, which for large x costs as much time as the computation

    Raises
    ------
    ValueError : x is of another dtype, step, low or high out of range, or an `out` that does not fit.
    """
    step, low, high = check_quantiser(x, step, low, high)
    out = check_out(out, x)
    with np.errstate(over="ignore", under="ignore"):
        # + 0 makes -0 to 0
        np.multiply(np.clip(np.rint(x / step), low, high) + x.dtype.type(0), step, out=out)
    return out


def fake_quantise_backward(
    dy: np.ndarray, x: np.ndarray, step: float, low: int, high: int, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.float64]:
    """Gradients of `fake_quantise`: dx in the shape of x, eq. 2, and ds as float64, eq. 3.

    What lies inside is found again from x, so that forward has no mask to write.

    Parameters
    ----------
    out : where to write dx, as there; dy or x itself is allowed

    Raises
    ------
    ValueError : as there, or dy has not the shape and dtype of x.
    """
    step, low, high = check_quantiser(x, step, low, high)
    check_gradient(dy, x)
    out = check_out(out, x, dy)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        v = x / step
        inside = (low < v) & (v < high)
        e = np.where(inside, np.rint(v) - v, np.where(v <= low, low, np.where(v >= high, high, x.dtype.type(0))))
    terms = dy.ravel().astype(np.float64) * e.ravel()
    np.copyto(out, np.where(inside, dy, x.dtype.type(0)))
    return out, _ordered_sum(terms)


def assign(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Index of the nearest level of each x (n,) -> (n,) uint32: how many midpoints of neighbours lie below it.

    A value on a midpoint, computed in float64, belongs to the lower level.

    Parameters
    ----------
    codebook : (L,) of the dtype of x, increasing and finite, 1 <= L <= 65,536

    Raises
    ------
    ValueError : vectors or dtypes that do not fit, a codebook that does not increase, or a NaN.
    """
    midpoints = check_codebook(x, codebook)
    return np.searchsorted(midpoints, x.astype(np.float64), side="left").astype(np.uint32)


def centroid_sums(x: np.ndarray, index: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums (L,) float64 and counts (L,) int64 of the x (n,) of each index (n,) uint32.

    Each chunk of CHUNK is summed in order, then the chunks.

    Raises
    ------
    ValueError : vectors that do not fit, or an index of `levels` or more.
    """
    levels = check_index(x, index, levels)
    sums = np.zeros(levels)
    for first in range(0, len(x), CHUNK):
        sums += np.bincount(index[first : first + CHUNK], x[first : first + CHUNK], levels)
    return sums, np.bincount(index, minlength=levels)


def _ordered_sum(terms: np.ndarray) -> np.float64:
    """Of terms (n,) float64, in the order that is the same for any number of threads."""
    total = np.float64(0)
    for first in range(0, len(terms), CHUNK):
        chunk = terms[first : first + CHUNK]
        rows = np.zeros((1 + -(-len(chunk) // LANES), LANES))
        rows[1:].reshape(-1)[: len(chunk)] = chunk
        # cumulative sums, since these are never reordered
        total += np.cumsum(np.append(0.0, np.cumsum(rows, axis=0)[-1]))[-1]
    return total


def check_quantiser(x: np.ndarray, step: float, low: int, high: int):
    """step, low and high as numbers of the dtype of x, or ValueError."""
    low, high = operator.index(low), operator.index(high)
    if x.dtype not in (np.float32, np.float64):
        raise ValueError(f"x is {x.dtype}, expected float32 or float64")
    with np.errstate(over="ignore", under="ignore"):
        rounded = x.dtype.type(step)
    if not (math.isfinite(rounded) and rounded > 0):
        raise ValueError(f"step={step} must be positive and finite as {x.dtype}")
    if not -LARGEST <= low <= 0 <= high <= LARGEST or low == high:
        raise ValueError(f"low={low}, high={high} must be different and -{LARGEST} <= low <= 0 <= high <= {LARGEST}")
    return rounded, x.dtype.type(low), x.dtype.type(high)


def check_gradient(dy: np.ndarray, x: np.ndarray) -> None:
    """ValueError unless dy can be a gradient of x."""
    if dy.dtype != x.dtype or dy.shape != x.shape:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected {x.dtype} {x.shape}")


def check_out(out: np.ndarray | None, x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Memory for a result like x: `out`, or new memory; ValueError unless it fits."""
    if out is None:
        return np.empty(x.shape, x.dtype)
    if out.dtype != x.dtype or out.shape != x.shape or not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"out is {out.dtype} {out.shape}, expected {x.dtype} {x.shape}, contiguous and writeable")
    for operand in (x, *others):
        if np.may_share_memory(out, operand) and not (
            operand.flags.c_contiguous and operand.ctypes.data == out.ctypes.data
        ):
            raise ValueError("out overlaps an operand in part: give the operand itself, or memory apart from it")
    return out


def check_codebook(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Midpoints (L - 1,) float64 of neighbouring levels, or ValueError."""
    if x.ndim != 1 or codebook.ndim != 1 or x.dtype != codebook.dtype or x.dtype not in (np.float32, np.float64):
        raise ValueError(f"x ({x.dtype}) and codebook ({codebook.dtype}) must be vectors of float32 or of float64")
    levels = codebook.astype(np.float64)
    if not 1 <= len(levels) <= 1 << 16 or not np.isfinite(levels).all() or (levels[1:] <= levels[:-1]).any():
        raise ValueError(f"codebook must hold 1 to 65,536 finite levels that increase, not {codebook}")
    if np.isnan(x).any():
        raise ValueError("x holds NaN, to which no level is nearest")
    return levels[:-1] / 2 + levels[1:] / 2


def check_index(x: np.ndarray, index: np.ndarray, levels: int) -> int:
    """The number of levels as a Python integer, or ValueError."""
    levels = operator.index(levels)
    if x.ndim != 1 or x.dtype not in (np.float32, np.float64) or index.shape != x.shape or index.dtype != np.uint32:
        raise ValueError(f"x ({x.dtype} {x.shape}) must be a float vector, index ({index.dtype} {index.shape}) uint32")
    if not 0 <= levels <= 1 << 16 or (len(index) and int(index.max()) >= levels):
        raise ValueError(f"index up to {index.max(initial=0)} must lie below levels={levels}, at most 65,536")
    return levels


CHANGED = {"fake_quantise": ("out",), "fake_quantise_backward": ("out",)}
"""Operands that a call writes."""


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        info = np.finfo(dtype)
        strange = np.array([0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, info.smallest_subnormal])
        halves = np.arange(-20, 21) / 4
        arrays = [generator.normal(size=shape) * 3 for shape in ((), (0,), (1,), (7, 5), (17, 2, 3), (70_001,))]
        for x in (a.astype(dtype) for a in (*arrays, halves, strange)):
            dy = generator.normal(size=x.shape).astype(dtype)
            for step, low, high in ((0.5, -4, 3), (1.0, 0, 15), (0.3, -8, 7), (1e-30, -1, 1), (0.0, -1, 1), (1, 1, 2)):
                yield "fake_quantise", (x, step, low, high)
                yield "fake_quantise_backward", (dy, x, step, low, high)
            quantiser = 0.3, -8, 7
            for out in (np.ones_like(x), x, np.broadcast_to(x, (2, *x.shape))[0]):
                yield "fake_quantise", (x, *quantiser, out)
                yield "fake_quantise_backward", (dy, x, *quantiser, out)
            yield "fake_quantise_backward", (dy, x, *quantiser, dy)
        # 0 to 9 are x, 1 to 10 the result
        shared = np.arange(11, dtype=dtype)
        yield "fake_quantise", (shared[:-1], *quantiser, shared[1:])
        yield "fake_quantise_backward", (shared[:-1], shared[:-1].copy(), *quantiser, shared[1:])
        for levels in (1, 2, 3, 16, 33, 300):
            codebook = np.unique(generator.normal(size=levels).astype(dtype))
            midpoints = (codebook[:-1] / 2 + codebook[1:] / 2).astype(dtype)
            for x in (codebook, midpoints, generator.normal(size=999), np.array([np.inf, -np.inf])):
                yield "assign", (x.astype(dtype), codebook)
        yield "assign", (strange.astype(dtype), codebook)
        yield "assign", (codebook, codebook[:0])
        for n in (0, 1, 999, 140_000):
            yield "centroid_sums", (generator.normal(size=n).astype(dtype), generator.integers(0, 9, n, np.uint32), 10)
