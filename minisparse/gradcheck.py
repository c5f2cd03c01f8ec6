"""Is a backward pass the derivative of its forward pass? Two forward calls answer, whatever the size.

For random directions u of the input and v of the parameters, and a random dy,

    <dy, d/de f(x + e u, w + e v) at e = 0>  =  <dx, u> + sum <dw, v>                           (1)

where dx, dw come from backward(dy). A wrong entry anywhere upsets eq. 1 unless it is orthogonal to
random vectors. The derivative on the left is taken in one of two ways:

    central    (f(+e) - f(-e)) / 2e        error O(e^2) + rounding / e: about 1e-10 in float64
    complex    Im f(x + i e u, w + i e v) / e, no subtraction: exact to rounding, for a forward pass that
               takes complex arrays, analytic between kinks that it finds from the real part

Source: complex step, W. Squire and G. Trapp (1998), SIAM Review 40.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from minisparse import rng
from minisparse.model import Model
from minisparse.stores import DenseStore, Store

STEPS = {"central": 1e-6, "complex": 1e-30}
"""e of each method."""


def check_gradients(
    model: Model, batch: int = 3, training: bool = True, method: str = "central", seed: int = 0
) -> float:
    """Relative error of eq. 1 for a float64 model at a random input, all parameters perturbed.

    Parameters
    ----------
    model : with dtype float64; for a layer alone, `Model("check", layer, shape, dtype=np.float64)`. Its
        values, gradients and buffers are as before when the check returns.
    batch : N
    training : the mode of the forward pass
    method : "central" or "complex"; "complex" needs dense stores
    seed : of x, dy, u and v

    Returns
    -------
    |left - right| over the size that the sum on the right has for random signs of its terms; correct code gives
    less than 1e-8 (central) or 1e-13 (complex), wrong code about 1

    Raises
    ------
    ValueError : unknown method, or a model that is not float64.
    """
    if method not in STEPS:
        raise ValueError(f"method={method!r} is unknown: use one of {list(STEPS)}")
    if np.dtype(model.dtype) != np.float64:
        raise ValueError(f"dtype={np.dtype(model.dtype)} of the model is too coarse: build it with dtype=np.float64")
    step, stream = STEPS[method], rng.Stream(seed, "gradcheck")
    x = distinct_values((*model.input_shape, batch), stream)
    # away from special values such as 0 and 1
    w = [store.values + 0.1 * distinct_values(store.values.shape, stream) for store in _stores(model)]
    u, v = _signed(x.shape, stream), [_direction(store, stream) for store in _stores(model)]
    dy = _signed((*model.output_shape, batch), stream)
    with _holding(model, w):
        _, cache = model.forward(x, training)
        dx = model.backward(dy, cache)
        dw = [store.grad for store in _stores(model)]

    def moved(e: complex) -> np.ndarray:
        with _holding(model, [value + e * direction for value, direction in zip(w, v, strict=True)]):
            return model.forward(x + e * u, training)[0]

    slope = moved(1j * step).imag / step if method == "complex" else (moved(step) - moved(-step)) / (2 * step)
    left = np.vdot(dy, slope)
    terms = [dx * u] + [gradient * direction for gradient, direction in zip(dw, v, strict=True)]
    right = sum(float(term.sum()) for term in terms)
    scale = max(np.sqrt(sum(float(np.square(term).sum()) for term in terms)), abs(left))
    return float(abs(left - right) / scale) if scale > 0 else 0.0


def distinct_values(shape: tuple[int, ...], stream: rng.Stream) -> np.ndarray:
    """All different, none 0, in (-1, 1), evenly spaced in random order, so that no small step meets a kink."""
    size = int(np.prod(shape))
    return ((stream.permutation(size) + 0.25) / max(size, 1) * 2 - 1).reshape(shape)


def _signed(shape: tuple[int, ...], stream: rng.Stream) -> np.ndarray:
    """Random directions with entries of size 0.5 to 1.5, so that none goes unnoticed."""
    size = int(np.prod(shape))
    return ((0.5 + stream.uniform(size)) * (2 * stream.integers(2, size) - 1)).reshape(shape)


def _direction(store: Store, stream: rng.Stream) -> np.ndarray:
    """Random direction of the stored entries, 0 off the mask."""
    v = _signed(store.values.shape, stream)
    return np.where(store.mask, v, 0) if isinstance(store, DenseStore) and store.mask is not None else v


def _stores(model: Model) -> list[Store]:
    return [p.store for p in model.parameters.values()]


@contextmanager
def _holding(model: Model, values: list[np.ndarray]) -> Iterator[None]:
    """The model with these values and gradients of 0; on leaving, values, gradients and buffers as before."""
    held = [(store, store.values, store.grad) for store in _stores(model)]
    buffers = {name: array.copy() for name, array in model.buffers.items()}
    try:
        for store, value in zip(_stores(model), values, strict=True):
            store.values, store.grad = value, np.zeros_like(value)
        yield
    finally:
        for store, value, grad in held:
            store.values, store.grad = value, grad
        for name, array in model.buffers.items():
            array[...] = buffers[name]
