"""The contract of a layer. `check_layer(MyLayer(...), shape)` raises AssertionError, naming the claim that fails."""

import copy
import json

import numpy as np

from minisparse import rng
from minisparse.gradcheck import check_gradients, distinct_values
from minisparse.layers.base import Layer
from minisparse.model import Model

CENTRAL, COMPLEX = 1e-7, 1e-12
"""Largest relative error of a gradient, by either method."""
ROUNDING = 1e-12
"""Largest relative difference in float64 between two orders of one small layer's sums."""


def check_layer(layer: Layer, shape: tuple[int, ...], complex_step: bool = True) -> None:
    """Hold a layer to what the library relies on.

    Parameters
    ----------
    layer : only its settings are used; every check runs on a fresh copy
    shape : of one sample of x, small
    complex_step : False for a layer whose forward pass takes no complex arrays

    Raises
    ------
    AssertionError : naming the layer and the claim that it breaks.
    """
    for claim in (_dtype_and_shape, _repeatable, _samples_are_independent, _stores_agree):
        claim(layer, shape)
    if layer.straight_through:  # what its gradient is instead, its own tests say
        return
    _gradients(layer, shape)
    if complex_step:
        for training in (False, True):
            error = check_gradients(_model(layer, shape), training=training, method="complex")
            _demand(layer, error < COMPLEX, f"the complex step finds its gradient (relative error {error:.1e})")


def _gradients(layer, shape):
    for training in (False, True):
        error = check_gradients(_model(layer, shape), training=training)
        _demand(layer, error < CENTRAL, f"finite differences find its gradient (relative error {error:.1e})")


def _dtype_and_shape(layer, shape):
    for dtype in (np.float32, np.float64):
        for batch, training in ((1, False), (4, False), (4, True)):
            model = _model(layer, shape, dtype)
            (y, dx), x = _pass(model, batch, training), _input(model, batch)
            _demand(layer, y.shape == (*model.output_shape, batch), f"y {y.shape} agrees with output_shape")
            _demand(layer, dx.shape == x.shape, f"dx {dx.shape} has the shape of x {x.shape}")
            kept = {y.dtype, dx.dtype, *(p.store.grad.dtype for p in model.parameters.values())}
            _demand(layer, kept == {np.dtype(dtype)}, f"{np.dtype(dtype)} stays, not {kept}")
    counted = all(inner.macs(its_shape) >= 0 for _, inner, its_shape in model.net.named_shapes(shape))
    _demand(layer, counted, "macs is a count")


def _repeatable(layer, shape):
    """One configuration gives one layer; x, dy and the values are left alone; gradients add up."""
    for training in (False, True):
        model = _model(layer, shape)
        twin = _model(Layer.from_config(json.loads(json.dumps(layer.config()))), shape)
        values = [p.value().copy() for p in model.parameters.values()]
        buffers = {name: array.copy() for name, array in model.buffers.items()}
        first, second = _pass(model, 3, training), _pass(twin, 3, training)
        _demand(layer, _same(first, second), "its configuration, as JSON, gives the same layer")
        once = _gradients_of(model)
        _demand(layer, _same(values, [p.value() for p in model.parameters.values()]), "a pass leaves the values alone")
        for name, array in model.buffers.items():  # a layer may count its training passes
            array[...] = buffers[name]
        _pass(model, 3, training)
        _demand(layer, _same([2 * g for g in once], _gradients_of(model)), "backward adds to the gradients")
        for name, array in model.buffers.items():
            array[...] = buffers[name]
        model.zero_grad()
        _pass(model, 3, training, Model.accumulate)
        _demand(layer, _same(once, _gradients_of(model)), "accumulate adds the same gradients as backward")


def _samples_are_independent(layer, shape):
    model = _model(layer, shape)
    x = _input(model, 4)
    together, _ = model.forward(x)
    alone = np.concatenate([model.forward(x[..., n : n + 1].copy())[0] for n in range(4)], axis=-1)
    _demand(layer, _close(together, alone), "in evaluation a sample's output does not depend on its batch")


def _stores_agree(layer, shape):
    """Sparse stores give what dense ones with the same mask give, and the gradient on the mask."""
    for rest_scale in (0.0, 1.0):
        dense, sparse = _model(layer, shape), _model(layer, shape)
        for model in (dense, sparse):
            for p in model.parameters.values():
                p.rest_scale = rest_scale
                p.keep(rng.Stream(1, p.name).uniform(p.size).reshape(p.shape) < 0.5)
        for p in sparse.parameters.values():
            p.to_sparse()
        for ours, theirs in zip(_pass(sparse, 3, True), _pass(dense, 3, True), strict=True):
            _demand(layer, _close(ours, theirs), f"a sparse store computes the same (rest_scale {rest_scale})")
        for name, p in sparse.parameters.items():
            on_mask = dense.parameters[name].store.grad[p.mask]
            _demand(layer, _close(p.store.grad, on_mask), f"{name}'s sparse gradient is the dense one on the mask")


def _model(layer: Layer, shape: tuple[int, ...], dtype=np.float64) -> Model:
    """A copy of the layer with all parameters moved away from special values such as 0 and 1."""
    model = Model("check", copy.deepcopy(layer), shape, dtype=dtype)
    for name, p in model.parameters.items():
        p.store.values += (0.1 * distinct_values(p.shape, rng.Stream(0, name))).astype(dtype)
    return model


def _input(model: Model, batch: int) -> np.ndarray:
    return distinct_values((*model.input_shape, batch), rng.Stream(0, "x")).astype(model.dtype)


def _pass(model: Model, batch: int, training: bool, backward=Model.backward) -> tuple[np.ndarray, np.ndarray]:
    """y and dx, of arrays that cannot be written."""
    x = _input(model, batch)
    dy = distinct_values((*model.output_shape, batch), rng.Stream(0, "dy")).astype(model.dtype)
    x.setflags(write=False)
    dy.setflags(write=False)
    y, cache = model.forward(x, training)
    return y, backward(model, dy, cache)


def _gradients_of(model: Model) -> list[np.ndarray]:
    return [p.store.grad.copy() for p in model.parameters.values()]


def _same(ours, theirs) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    size = np.abs(theirs).max(initial=1)
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max(initial=0) <= ROUNDING * size)


def _demand(layer: Layer, holds: bool, claim: str) -> None:
    if not holds:
        raise AssertionError(f"{layer}: the claim fails that {claim}")
