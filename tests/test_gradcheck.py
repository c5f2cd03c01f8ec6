from dataclasses import dataclass

import numpy as np
import pytest

from minisparse import layers as nn
from minisparse import rng
from minisparse.gradcheck import check_gradients, distinct_values
from minisparse.layers import Layer
from minisparse.model import Model
from minisparse.testing import check_layer


@dataclass(eq=False)
class WrongInput(nn.Tanh):
    """dx forgets the square."""

    def backward(self, dy, cache):
        return dy * (1 - cache)


@dataclass(eq=False)
class WrongWeight(nn.Linear):
    """A single entry of dW is off by a part in a thousand."""

    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        self.params["weight"].store.grad[0, 0] *= 1.001
        return dx


@dataclass(eq=False)
class WrongEval(nn.BatchNorm):
    """The training gradient in evaluation mode too."""

    def backward(self, dy, cache):
        return super().backward(dy, (*cache[:-1], True))


@dataclass(eq=False)
class Overwriting(nn.Linear):
    """Sets the gradient where it should add to it."""

    def backward(self, dy, cache):
        for p in self.params.values():
            p.store.grad.fill(0)
        return super().backward(dy, cache)


@dataclass(eq=False)
class Upcasting(nn.ReLU):
    def forward(self, x, training=False):
        y, cache = super().forward(x, training)
        return y * np.float64(1), cache


@dataclass(eq=False)
class Mixing(nn.ReLU):
    """Evaluation looks at the batch."""

    def forward(self, x, training=False):
        return x - x.mean(-1, keepdims=True), None

    def backward(self, dy, cache):
        return dy - dy.mean(-1, keepdims=True)


@dataclass(eq=False)
class InPlace(nn.ReLU):
    def forward(self, x, training=False):
        np.maximum(x, 0, out=x)
        return x, x > 0


@dataclass(eq=False)
class WrongShape(nn.Flatten):
    def output_shape(self, shape):
        return shape


@dataclass(eq=False)
class Forgetful(nn.LeakyReLU):
    """Its configuration loses the slope."""

    def config(self):
        return ["LeakyReLU", {}]


def _model(layer, shape):
    return Model("check", layer, shape, dtype=np.float64)


@pytest.mark.parametrize("method", ["central", "complex"])
@pytest.mark.parametrize(
    ("layer", "shape", "training"),
    [(WrongInput(), (5,), True), (WrongWeight(5, 4), (5,), True), (WrongEval(2), (2, 3, 3), False)],
)
def test_a_wrong_gradient_is_found(layer, shape, training, method):
    assert check_gradients(_model(layer, shape), training=training, method=method) > 1e-5


@pytest.mark.parametrize(
    ("layer", "shape", "claim"),
    [
        (WrongInput(), (5,), "finds? its gradient"),
        (WrongWeight(5, 4), (5,), "gradient"),
        (WrongEval(2), (2, 3, 3), "gradient"),
        (Overwriting(3, 2), (3,), "adds to the gradients"),
        (Upcasting(), (3,), "float32'> stays|float32 stays"),
        (Mixing(), (3,), "does not depend on its batch"),
        (WrongShape(), (2, 2, 2), "agrees with output_shape"),
    ],
)
def test_the_contract_names_the_claim_that_a_layer_breaks(layer, shape, claim):
    with pytest.raises(AssertionError, match=claim):
        check_layer(layer, shape)


def test_the_contract_finds_a_layer_that_writes_into_its_input():
    with pytest.raises(ValueError, match="read-only"):
        check_layer(InPlace(), (4,))


def test_the_contract_finds_a_configuration_that_describes_another_layer():
    layer = Forgetful(0.5)
    assert Layer.from_config(layer.config()).slope != layer.slope
    with pytest.raises(AssertionError, match="its configuration"):
        check_layer(layer, (4,))


def test_a_check_leaves_values_gradients_and_buffers_alone():
    model = _model(nn.Sequential([nn.Linear(4, 3), nn.BatchNorm(3), nn.Dropout()]), (4,))
    model.net.layers["0"].params["bias"].store.grad += 7
    before = [a.copy() for p in model.parameters.values() for a in (p.store.values, p.store.grad)]
    buffers = {name: array.copy() for name, array in model.buffers.items()}
    check_gradients(model)
    after = [a for p in model.parameters.values() for a in (p.store.values, p.store.grad)]
    assert all(map(np.array_equal, before, after))
    assert all(np.array_equal(buffers[name], array) for name, array in model.buffers.items())


@pytest.mark.parametrize("rest_scale", [0.0, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_masked_layer_has_the_gradient_of_its_mask(sparse, rest_scale):
    model = _model(nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 5))
    for name, p in model.parameters.items():
        p.rest_scale = rest_scale
        p.keep(rng.Stream(0, name).uniform(p.size).reshape(p.shape) < 0.4)
        if sparse:
            p.to_sparse()
    assert check_gradients(model) < 1e-7


def test_distinct_values_are_distinct_bounded_and_not_zero():
    for size in (1, 2, 3, 64, 101):
        values = distinct_values((size,), rng.Stream(0))
        assert len(set(values)) == size and (values != 0).all() and (np.abs(values) < 1).all()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="method='forward'"):
        check_gradients(_model(nn.ReLU(), (3,)), method="forward")
    with pytest.raises(ValueError, match="float64"):
        check_gradients(Model("m", nn.ReLU(), (3,)))
