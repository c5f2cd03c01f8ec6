"""Fully connected layer."""

from dataclasses import dataclass

import numpy as np

from minisparse._core import bias
from minisparse.layers.activations import ReLU
from minisparse.layers.base import Fused, Layer, expect_integers, expect_shape
from minisparse.params import Init, Parameter


@dataclass(eq=False)
class Linear(Layer):
    """y = W x + b: x (I, N) -> y (O, N).

    Parameters
    ----------
    inputs, outputs : I and O
    bias : whether there is a b (O,)
    gain : the weights start near-normal with standard deviation sqrt(gain / I); 1 is LeCun's, 2 is He's
    """

    inputs: int
    outputs: int
    bias: bool = True
    gain: float = 1.0

    def setup(self) -> None:
        expect_integers(self, 1, "inputs", "outputs")
        scale = float(np.sqrt(self.gain / self.inputs))
        self.params["weight"] = Parameter((self.outputs, self.inputs), Init("normal", scale))
        if self.bias:
            self.params["bias"] = Parameter((self.outputs,), Init("constant", 0.0), role="bias")

    def forward(self, x, training=False):
        weight = self.params["weight"].store
        return weight.affine(x, self.params["bias"].value()) if self.bias else weight.matmul(x), x

    def backward(self, dy, cache):
        self.accumulate(dy, cache)
        # dx = W^T dy
        return self.params["weight"].store.rmatmul(dy)

    def accumulate(self, dy, cache):
        x = cache
        # dW = dy x^T,  db = sum over the batch
        self.params["weight"].store.accumulate(dy, x)
        if self.bias:
            self.params["bias"].store.add_gradient(bias.sums(dy))

    def fused(self, following):
        return RectifiedLinear(self) if type(following) is ReLU and self.bias else None

    def output_shape(self, shape):
        expect_shape(self, shape == (self.inputs,), shape, f"{self.inputs} features")
        return (self.outputs,)

    def macs(self, shape):
        return self.inputs * self.outputs

    @classmethod
    def examples(cls):
        return [(cls(5, 3), (5,)), (cls(1, 4, bias=False), (1,))]


class RectifiedLinear(Fused):
    """A Linear with a bias and the ReLU behind it: the gradient is summed while rectifying."""

    def __init__(self, linear: Linear):
        self.linear = linear

    def forward(self, x, training=False):
        y = self.linear.params["weight"].store.affine(x, self.linear.params["bias"].value(), rectified=True)
        return y, (x, y)

    def backward(self, dy, cache):
        weight = self.linear.params["weight"].store
        return weight.rmatmul(self._accumulate(dy, *cache))

    def accumulate(self, dy, cache):
        self._accumulate(dy, *cache)

    def _accumulate(self, dy, x, y):
        """The gradient of what was rectified."""
        dz, db = bias.backward(dy, y)
        self.linear.params["weight"].store.accumulate(dz, x)
        self.linear.params["bias"].store.add_gradient(db)
        return dz
