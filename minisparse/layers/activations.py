"""Functions of one entry; any shape.

Decisions (which side of a kink) look at the real part, so that a complex step passes through.
"""

from dataclasses import dataclass

import numpy as np

from minisparse._core import relu
from minisparse.layers.base import Layer


@dataclass(eq=False)
class ReLU(Layer):
    """y = max(x, 0), with slope 0 at the kink; NaN stays NaN."""

    def forward(self, x, training=False):
        y = relu.forward(x)
        return y, y

    def backward(self, dy, cache):
        y = cache
        return relu.backward(dy, y)

    @classmethod
    def examples(cls):
        return [(cls(), (7,)), (cls(), (2, 3, 4))]


@dataclass(eq=False)
class LeakyReLU(Layer):
    """y = x where x > 0, otherwise slope x.

    Parameters
    ----------
    slope : in [0, 1]
    """

    slope: float = 0.01

    def setup(self) -> None:
        if not 0 <= self.slope <= 1:
            raise ValueError(f"slope={self.slope} of LeakyReLU must lie in [0, 1]")

    def forward(self, x, training=False):
        positive = x.real > 0
        return np.where(positive, x, self.slope * x), positive

    def backward(self, dy, cache):
        positive = cache
        return np.where(positive, dy, self.slope * dy)

    @classmethod
    def examples(cls):
        return [(cls(), (7,)), (cls(0.3), (2, 3, 4))]


@dataclass(eq=False)
class Tanh(Layer):
    """y = tanh(x), dy/dx = 1 - y^2."""

    def forward(self, x, training=False):
        y = np.tanh(x)
        return y, y

    def backward(self, dy, cache):
        y = cache
        return dy * (1 - y * y)

    @classmethod
    def examples(cls):
        return [(cls(), (7,)), (cls(), (2, 3, 4))]


@dataclass(eq=False)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), dy/dx = y (1 - y)."""

    def forward(self, x, training=False):
        positive = x.real > 0
        # e = exp(-|x|) cannot overflow:  y = 1 / (1 + e) where x > 0,  e / (1 + e) elsewhere
        e = np.exp(np.where(positive, -x, x))
        y = np.where(positive, 1, e) / (1 + e)
        return y, y

    def backward(self, dy, cache):
        y = cache
        return dy * y * (1 - y)

    @classmethod
    def examples(cls):
        return [(cls(), (7,)), (cls(), (2, 3, 4))]
