"""Layers that are computed together give what they give one after the other, to the bit."""

import numpy as np
import pytest

from minisparse import layers as nn
from minisparse.model import Model


def apart(layers, x, dy):
    """y, dx and the gradients, layer by layer."""
    model = Model("apart", nn.Sequential(layers), x.shape[:-1], dtype=x.dtype)
    caches = []
    for layer in model.net.layers.values():
        x, cache = layer.forward(x, training=True)
        caches.append(cache)
    for layer, cache in zip(reversed(model.net.layers.values()), reversed(caches), strict=True):
        dy = layer.backward(dy, cache)
    return x, dy, [p.store.grad for p in model.parameters.values()]


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.BatchNorm(3), nn.ReLU()],
        lambda: [nn.BatchNorm(3), nn.ReLU(), nn.Conv2d(3, 7, 3, padding=1), nn.BatchNorm(7), nn.ReLU(), nn.Tanh()],
        lambda: [nn.BatchNorm(3), nn.ReLU(), nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), nn.MaxPool2d(2)],
        lambda: [nn.Conv2d(3, 20, 3), nn.BatchNorm(20), nn.ReLU(), nn.Conv2d(20, 9, 3, padding=1, bias=False)],
        lambda: [nn.Sequential([nn.Conv2d(3, 4, 3), nn.BatchNorm(4)]), nn.ReLU(), nn.Sequential([nn.Conv2d(4, 2, 1)])],
        lambda: [nn.Residual(nn.BatchNorm(3)), nn.ReLU()],
        lambda: [nn.Residual(nn.Sequential([nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm(3)])), nn.ReLU()],
        lambda: [nn.Residual(nn.Sequential([nn.Conv2d(3, 4, 1), nn.BatchNorm(4)]), nn.PaddedShortcut(4, 1)), nn.ReLU()],
        lambda: [nn.Residual(nn.Tanh()), nn.ReLU(), nn.Residual(nn.Conv2d(3, 5, 1), nn.PaddedShortcut(5, 1))],
        lambda: [nn.Residual(nn.BatchNorm(3)), nn.ReLU(), nn.Residual(nn.Conv2d(3, 3, 1)), nn.Residual(nn.Tanh())],
        lambda: [nn.Residual(nn.Tanh()), nn.ReLU(), nn.Residual(nn.BatchNorm(3)), nn.ReLU(), nn.Tanh()],
        lambda: [nn.ReLU(), nn.BatchNorm(3), nn.ReLU(), nn.ReLU(), nn.Conv2d(3, 2, 3)],
        lambda: [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.Conv2d(4, 2, 2, bias=False)],
        lambda: [nn.Conv2d(3, 6, 3, padding=2, groups=3, bias=False), nn.MaxPool2d(2)],
        lambda: [nn.Flatten(), nn.Linear(90, 7), nn.ReLU(), nn.Linear(7, 2), nn.ReLU()],
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_together_are_neighbours_apart(layers, dtype):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(3, 6, 5, 40)).astype(dtype)
    model = Model("together", nn.Sequential(layers()), x.shape[:-1], dtype=dtype)
    y, caches = model.forward(x, training=True)
    dy = generator.normal(size=y.shape).astype(dtype)
    dx = model.backward(dy, caches)
    assert len(caches) < len(model.net.layers)
    for found, expected in zip((y, dx), apart(layers(), x, dy), strict=False):
        np.testing.assert_array_equal(found, expected)
    for p, expected in zip(model.parameters.values(), apart(layers(), x, dy)[2], strict=True):
        np.testing.assert_array_equal(p.store.grad, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 6, 5, 40), (2, 2, 2, 3), (5, 4, 7, 100), (1, 7, 6, 16)])
def test_a_pooled_normalisation_differs_in_the_order_of_its_sums_alone(shape, dtype):
    def layers():
        return [nn.BatchNorm(shape[0]), nn.ReLU(), nn.MaxPool2d(2)]

    generator = np.random.default_rng(1)
    x = generator.normal(size=shape).astype(dtype)
    model = Model("together", nn.Sequential(layers()), shape[:-1], dtype=dtype)
    y, caches = model.forward(x, training=True)
    dy = generator.normal(size=y.shape).astype(dtype)
    dx = model.backward(dy, caches)
    expected = apart(layers(), x, dy)
    np.testing.assert_array_equal(y, expected[0])
    sums = [p.store.grad for p in model.parameters.values()]
    for found, its in zip((dx, *sums), (expected[1], *expected[2]), strict=True):
        np.testing.assert_allclose(found, its, rtol=0, atol=1e3 * np.finfo(dtype).eps * max(1, np.abs(its).max()))


@pytest.mark.parametrize("layers", [[nn.BatchNorm(3), nn.ReLU()], [nn.Flatten(), nn.Linear(12, 4), nn.ReLU()]])
def test_the_first_layer_with_parameters_may_be_computed_with_its_neighbour(layers):
    model = Model("first", nn.Sequential(layers), (3, 2, 2))
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 5)).astype(np.float32)
    gradients = []
    for backward in model.backward, model.accumulate:
        y, caches = model.forward(x, training=True)
        model.zero_grad()
        backward(y, caches)
        gradients.append([p.store.grad for p in model.parameters.values()])
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("first", "second"), [(nn.Linear, nn.ReLU), (nn.BatchNorm, nn.ReLU), (nn.Residual, nn.ReLU)])
def test_what_a_class_of_its_own_computes_is_left_to_it(first, second, monkeypatch):
    monkeypatch.setattr(nn.Layer, "registry", {})
    wrong_first, wrong_second = (type(f"Wrong{kind.__name__}", (kind,), {}) for kind in (first, second))
    layer = {nn.Linear: lambda kind: kind(3, 4), nn.BatchNorm: lambda kind: kind(3),
             nn.Residual: lambda kind: kind(nn.ReLU())}[first]  # fmt: skip
    for one, other in ((wrong_first, second), (first, wrong_second)):
        _, caches = nn.Sequential([layer(one), other()]).forward(np.ones((3, 5), np.float32))
        assert len(caches) == 2
    _, caches = nn.Sequential([layer(first), second()]).forward(np.ones((3, 5), np.float32))
    assert len(caches) == 1


def test_a_gradient_that_was_handed_in_is_not_what_the_next_one_is_added_to():
    layer = nn.Linear(2, 3)
    store, gradient = layer.params["bias"].store, np.ones(3, np.float32)
    store.add_gradient(gradient)
    store.add_gradient(gradient)
    assert (gradient == 1).all() and (store.grad == 2).all()
    store.zero_grad()
    assert not store.grad.any()
