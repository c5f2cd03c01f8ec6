"""The optimisers' steps, in place, on the stored entries of one parameter.

    g = grad + decay (w - rest)                                               (1)

    SGD     v <- momentum v + g                                               (2)
            w <- w - lr v,   or w <- w - lr (g + momentum v) with Nesterov's look-ahead; v = g without momentum

    Adam    m <- m + (1 - b1) (g - m);   s <- s + (1 - b2) (g^2 - s)          (3)
            w <- w - lr (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)

Arithmetic is in the dtype of w, to which settings are rounded, in the order that is written, so that results are the
same to the bit whatever the number of threads.

Source: D. Kingma, J. Ba (2015), arXiv 1412.6980, algorithm 1 (eq. 3).
"""

import operator

import numpy as np


def sgd(
    values: np.ndarray,
    grad: np.ndarray,
    rest: np.ndarray | None,
    velocity: np.ndarray | None,
    lr: float,
    decay: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """Eq. 1 and 2.

    Parameters
    ----------
    values, velocity : w and v, float32 or float64 of one dtype and shape, contiguous: written; without
        momentum velocity is None
    grad : of the shape and dtype of values
    rest : of the shape of values, None for zero

    Raises
    ------
    ValueError : arrays that do not fit.
    """
    check_state(values, grad, rest, velocity)
    lr, decay, momentum = float(lr), float(decay), float(momentum)
    with np.errstate(all="ignore"):
        step = _pulled(values, grad, rest, decay)
        if velocity is not None:
            velocity *= momentum
            velocity += step
            step = step + momentum * velocity if nesterov else velocity
        values -= lr * step


def adam(
    values: np.ndarray,
    grad: np.ndarray,
    rest: np.ndarray | None,
    mean: np.ndarray,
    square: np.ndarray,
    lr: float,
    decay: float,
    betas: tuple[float, float],
    eps: float,
    t: int,
) -> None:
    """Eq. 1 and 3.

    Parameters
    ----------
    values, mean, square : w, m and s, as for `sgd`: written
    betas : b1 and b2 in [0, 1)
    t : steps so far, this one included, >= 1

    Raises
    ------
    ValueError : arrays that do not fit, or t < 1.
    """
    check_state(values, grad, rest, mean, square)
    unbiased1, unbiased2 = check_betas(betas, t)
    lr, decay, (b1, b2), eps = float(lr), float(decay), betas, float(eps)
    with np.errstate(all="ignore"):
        g = _pulled(values, grad, rest, decay)
        mean += (1 - b1) * (g - mean)
        square += (1 - b2) * (g * g - square)
        values -= lr * ((mean / unbiased1) / (np.sqrt(square / unbiased2) + eps))


def _pulled(values, grad, rest, decay) -> np.ndarray:
    """Eq. 1."""
    if not decay:
        return grad
    return grad + decay * (values if rest is None else values - rest.astype(values.dtype, copy=False))


def check_state(values: np.ndarray, grad: np.ndarray, rest: np.ndarray | None, *state: np.ndarray | None) -> None:
    """ValueError unless these belong to one parameter and can be written."""
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(f"values are {values.dtype}, expected float32 or float64")
    if rest is not None and (rest.shape != values.shape or rest.dtype not in (np.float32, np.float64)):
        raise ValueError(f"rest is {rest.dtype} {rest.shape}, expected floats of shape {values.shape}")
    written = [values, *(array for array in state if array is not None)]
    for array in (grad, *written):
        if array.dtype != values.dtype or array.shape != values.shape:
            raise ValueError(f"{array.dtype} {array.shape} does not fit values {values.dtype} {values.shape}")
    if not all(array.flags.c_contiguous and array.flags.writeable for array in written):
        raise ValueError("values and state must be contiguous and writeable: pass copies, and keep them")


def check_betas(betas: tuple[float, float], t: int) -> tuple[float, float]:
    """1 - b1^t and 1 - b2^t; ValueError if t < 1."""
    t = operator.index(t)
    if t < 1:
        raise ValueError(f"t={t} must be at least 1: count this step")
    return 1 - betas[0] ** t, 1 - betas[1] ** t


CHANGED = {"sgd": ("values", "velocity"), "adam": ("values", "mean", "square")}
"""Operands that a call writes."""


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for dtype in (np.float32, np.float64):
        for shape in ((), (0,), (1,), (7, 5), (2, 3, 4), (1000,), (70_001,)):
            w, g, v, m = (np.asarray(generator.normal(size=shape).astype(dtype)) for _ in range(4))
            s = np.asarray(generator.random(shape).astype(dtype))
            for decay, rest in ((0.0, None), (0.01, None), (0.01, np.asarray(w / 3)), (0.1, w.astype(np.float32))):
                yield "sgd", (w, g, rest, None, 0.1, decay, 0.0, False)
                yield "sgd", (w, g, rest, v, 0.1, decay, 0.9, False)
                yield "sgd", (w, g, rest, v, 0.1, decay, 0.9, True)
                yield "adam", (w, g, rest, m, s, 0.001, decay, (0.9, 0.999), 1e-8, 3)
        strange = np.array([0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny], dtype)
        yield "sgd", (strange, strange[::-1], None, np.ones(7, dtype), 0.5, 0.1, 0.5, True)
        yield "adam", (strange, strange[::-1], None, *np.ones((2, 7), dtype), 0.5, 0.1, (0, 0), 1, 1)
