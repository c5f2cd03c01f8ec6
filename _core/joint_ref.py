"""Masked weights on Q magnitudes, and their straight-through gradients.

    u = |w| / s,   k = clip(round(u), 1, Q),   q(w) = sign(w) s k m,   m the mask, halves to even         (1)
    dw = dy, but 0 where m = 1, u >= Q and dy sign(w) < 0: descent would take w further out               (2)
    ds = sum dy sign(w) m e,   e = k - u where 1/2 <= u < Q, else k                                       (3)

Zero belongs to the mask alone, and every zero that comes out is +0; sign(0) = 1, sign(-0) = -1. Arithmetic is in the
dtype of w; (3) is summed in float64 in the order of quant_ref.py.

Source: ours, after Esser et al. (2020), arXiv 1902.08153, eqs. 1 to 3.
"""

import math
import operator

import numpy as np

from minisparse._core.quant_ref import _ordered_sum

LARGEST = 2**20
"""Bound of Q."""


def quantise(w: np.ndarray, on: np.ndarray, step: float, levels: int) -> np.ndarray:
    """q(w), eq. 1, (n,).

    Parameters
    ----------
    w : (n,) float32 or float64, finite
    on : m, (n,) bool
    step : s > 0, rounded to the dtype of w
    levels : Q, 1 to 2^20

    Raises
    ------
    ValueError : another dtype or shape, or step or levels out of range.
    """
    step, levels = check(w, on, step, levels)
    with np.errstate(over="ignore", under="ignore"):
        k = np.clip(np.rint(np.abs(w) / step), 1, levels)
        return np.where(on, np.copysign(k * step, w), w.dtype.type(0))


def quantise_backward(
    dy: np.ndarray, w: np.ndarray, on: np.ndarray, step: float, levels: int
) -> tuple[np.ndarray, np.float64]:
    """dw (n,), eq. 2, and ds as float64, eq. 3.

    Raises
    ------
    ValueError : as there, or dy has not the shape and dtype of w.
    """
    step, levels = check(w, on, step, levels)
    if dy.dtype != w.dtype or dy.shape != w.shape:
        raise ValueError(f"dy is {dy.dtype} {dy.shape}, expected {w.dtype} {w.shape}")
    with np.errstate(over="ignore", under="ignore"):
        u = np.abs(w) / step
        k = np.clip(np.rint(u), 1, levels)
        outwards = np.copysign(w.dtype.type(1), w) * dy < 0
        dw = np.where(on & (u >= levels) & outwards, w.dtype.type(0), dy)
        e = np.where((u >= 0.5) & (u < levels), k - u, k)
    return dw, _ordered_sum(np.where(on, dy.astype(np.float64) * (np.copysign(w.dtype.type(1), w) * e), 0.0))


def check(w: np.ndarray, on: np.ndarray, step: float, levels: int):
    """step and levels as numbers of the dtype of w, or ValueError."""
    levels = operator.index(levels)
    if w.ndim != 1 or w.dtype not in (np.float32, np.float64) or on.shape != w.shape or on.dtype != bool:
        raise ValueError(f"w ({w.dtype} {w.shape}) must be a float vector, on ({on.dtype} {on.shape}) its bool mask")
    with np.errstate(over="ignore", under="ignore"):
        rounded = w.dtype.type(step)
    if not (math.isfinite(rounded) and rounded > 0):
        raise ValueError(f"step={step} must be positive and finite as {w.dtype}")
    if not 1 <= levels <= LARGEST:
        raise ValueError(f"levels={levels} must lie in [1, {LARGEST}]")
    return rounded, w.dtype.type(levels)


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        halves = np.arange(-20, 21) / 4
        zeros = np.array([0, -0.0, 1e-30, -1e-30, 9, -9])
        for x in (halves, zeros, *(generator.normal(size=n) * 3 for n in (0, 1, 37, 70_001))):
            w, dy = x.astype(dtype), generator.normal(size=x.shape).astype(dtype)
            for step, levels in ((0.5, 3), (1.0, 1), (0.3, 7), (0.0, 3), (1, 0)):
                for density in (0.0, 0.3, 1.0):
                    on = generator.random(x.shape) < density
                    yield "quantise", (w, on, step, levels)
                    yield "quantise_backward", (dy, w, on, step, levels)
        yield "quantise", (w, on[:-1], 0.5, 3)
        yield "quantise", (w, on.astype(np.uint8), 0.5, 3)
        yield "quantise_backward", (dy[:-1], w, on, 0.5, 3)
