"""Uniform quantisers of b bits, and their straight-through gradients: for weights and for activations.

    q(x) = s round(clip(x / s, -Qn, Qp))                                                              (1)
    signed    Qn = 2^(b-1), Qp = 2^(b-1) - 1;       unsigned    Qn = 0, Qp = 2^b - 1                  (2)
    signed, one bit:  q(x) = s sign(x), Qn = Qp = 1, sign(0) = 1                                      (3)

The gradient goes straight through the rounding and stops at the bounds; the step's takes the residual of the rounding
for a constant:

    dx = dy where -Qn < x / s < Qp, else 0                                                            (4)
    ds = sum dy e,   e = q(x) / s - x / s where -Qn < x / s < Qp, else the bound that x is beyond     (5)

Source: Y. Bengio, N. Leonard, A. Courville, 2013, arXiv 1308.3432 (eq. 4); S. Esser et al., 2020, arXiv 1902.08153,
eqs. 1 to 3 (eq. 5), section 2.1 (`first_step`). Eq. 3 is ours: eq. 2 would leave the levels -s and 0.
"""

import numpy as np

from minisparse._core import quant as kernel

BITS = range(1, 9)


def bounds(bits: int, signed: bool) -> tuple[int, int]:
    """-Qn and Qp, by eqs. 2 and 3."""
    if bits not in BITS:
        raise ValueError(f"bits={bits} must be 1 to {BITS[-1]}")
    if not signed:
        return 0, (1 << bits) - 1
    return (-1, 1) if bits == 1 else (-(1 << bits - 1), (1 << bits - 1) - 1)


def quantise(x: np.ndarray, step: float, bits: int, signed: bool = True) -> np.ndarray:
    """q(x), eqs. 1 to 3, in the shape and dtype of x, float32 or float64; step s > 0, rounded to that dtype."""
    low, high = bounds(bits, signed)
    if signed and bits == 1:
        step = x.dtype.type(step)
        return np.where(x < 0, -step, step)
    return kernel.fake_quantise(x, float(step), low, high)


def quantise_backward(
    dy: np.ndarray, x: np.ndarray, step: float, bits: int, signed: bool = True
) -> tuple[np.ndarray, np.float64]:
    """dx, eq. 4, in the shape of x, and ds, eq. 5."""
    low, high = bounds(bits, signed)
    if signed and bits == 1:
        u = x / x.dtype.type(step)
        sign = np.where(u < 0, -1, 1)
        inside = np.abs(u) < 1
        e = np.where(inside, sign - u, sign)
        return np.where(inside, dy, 0).astype(x.dtype, copy=False), np.vdot(dy.astype(np.float64), e)
    return kernel.fake_quantise_backward(dy, x, float(step), low, high)


def first_step(x: np.ndarray, high: int) -> float:
    """s = 2 mean |x| / sqrt(Qp); 1 / Qp where all x are 0."""
    mean = float(np.abs(x).mean(dtype=np.float64)) if x.size else 0.0
    return 2 * mean / np.sqrt(high) if mean else 1 / high


def gradient_scale(count: int, high: int) -> float:
    """1 / sqrt(n Qp), by which the gradient of a step is multiplied, so that it moves as fast as what it quantises."""
    return 1 / np.sqrt(max(count, 1) * high)
