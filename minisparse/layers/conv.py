"""Convolution."""

from dataclasses import dataclass

import numpy as np

from minisparse._core import bias
from minisparse.layers.base import Fused, Layer, expect_integers, expect_shape
from minisparse.layers.pooling import is_halving
from minisparse.params import Init, Parameter
from minisparse.stores import Geometry


@dataclass(eq=False)
class Conv2d(Layer):
    """y = W * x + b: x (C, H, W, N) -> y (O, Ho, Wo, N), Ho = floor((H + 2 padding - kernel) / stride) + 1.

    As in every network library this is the cross-correlation, the kernel not flipped:

        y[o, i, j] = b[o] + sum_{c, u, v} W[o, c, u, v] x[c, s i + u - p, s j + v - p]

    with c over the channels of o's group, and x zero outside the image.

    Parameters
    ----------
    inputs, outputs : C and O, multiples of `groups`
    kernel : its height and width, >= 1
    stride, padding, groups : as above; with groups = C = O each channel has its own kernel
    bias : whether there is a b (O,)
    gain : the weights start near-normal with standard deviation sqrt(gain / fan-in), fan-in the
        C kernel^2 / groups inputs of one output; 1 is LeCun's, 2 is He's
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True
    gain: float = 1.0

    def setup(self) -> None:
        expect_integers(self, 1, "inputs", "outputs", "kernel", "stride", "groups")
        expect_integers(self, 0, "padding")
        if self.inputs % self.groups or self.outputs % self.groups:
            raise ValueError(f"groups={self.groups} must divide inputs={self.inputs} and outputs={self.outputs}")
        self.geometry = Geometry((self.kernel, self.kernel), self.stride, self.padding, self.groups)
        shape = (self.outputs, self.inputs // self.groups, self.kernel, self.kernel)
        scale = float(np.sqrt(self.gain / np.prod(shape[1:])))
        self.params["weight"] = Parameter(shape, Init("normal", scale))
        if self.bias:
            self.params["bias"] = Parameter((self.outputs,), Init("constant", 0.0), role="bias")

    def forward(self, x, training=False, normal=None):
        b = self.params["bias"].value() if self.bias else None
        return self.params["weight"].store.convolve(x, self.geometry, b, normal), x

    def backward(self, dy, cache, normal=None, pooling=None):
        x = cache
        self._accumulate_bias(dy)
        # dW = dy * x,  dx = the transposed convolution of dy
        return self.params["weight"].store.backpropagate_convolution(dy, x, self.geometry, pooling, normal)

    def accumulate(self, dy, cache, normal=None, pooling=None):
        x = cache
        self._accumulate_bias(dy)
        self.params["weight"].store.accumulate_convolution(dy, x, self.geometry, pooling, normal)

    def _accumulate_bias(self, dy):
        # db = sum over pixels and batch
        if self.bias:
            self.params["bias"].store.add_gradient(bias.sums(dy.reshape(len(dy), -1)))

    def fused(self, following):
        return PooledConv(self) if is_halving(following) else None

    def output_shape(self, shape):
        fits = len(shape) == 3 and shape[0] == self.inputs
        expect_shape(self, fits, shape, f"images of {self.inputs} channels, (C, H, W)")
        return (self.outputs, *self.geometry.output_size(*shape[1:]))

    def macs(self, shape):
        _, height, width = self.output_shape(shape)
        return self.params["weight"].size * height * width

    @classmethod
    def examples(cls):
        return [
            (cls(2, 3, 3, padding=1), (2, 5, 4)),
            (cls(4, 6, 3, stride=2, padding=1, groups=2, bias=False), (4, 6, 7)),
            (cls(3, 3, 2, groups=3), (3, 4, 4)),
            (cls(3, 4, 1), (3, 3, 3)),
            (cls(2, 2, 1, stride=2), (2, 5, 5)),
        ]


class PooledConv(Fused):
    """A Conv2d and a MaxPool2d(2): what the first gives, and its gradient, is never held whole.

    The same to the bit, but for the bias's gradient: as many of its terms are left out as are zero, and sums end in
    another order.
    """

    def __init__(self, conv: Conv2d):
        self.conv = conv

    def forward(self, x, training=False):
        b = self.conv.params["bias"].value() if self.conv.bias else None
        y, pooling = self.conv.params["weight"].store.convolve_pooled(x, self.conv.geometry, b)
        return y, (x, pooling)

    def backward(self, dy, cache):
        x, pooling = cache
        return self.conv.backward(dy, x, pooling=pooling)

    def accumulate(self, dy, cache):
        x, pooling = cache
        self.conv.accumulate(dy, x, pooling=pooling)
