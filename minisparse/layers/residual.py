"""Residual blocks: the sum of two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minisparse._core import relu
from minisparse.layers.activations import ReLU
from minisparse.layers.base import Fused, Layer, expect_integers, expect_shape
from minisparse.layers.batchnorm import BatchNorm
from minisparse.layers.conv import Conv2d
from minisparse.layers.linear import Linear
from minisparse.layers.sequential import Sequential
from minisparse.params import Init
from minisparse.stores import Geometry, SparseStore, Store


@dataclass(eq=False)
class Residual(Layer):
    """y = body(x) + shortcut(x).

    Parameters
    ----------
    body : layer
    shortcut : layer to the same shape as body's; None is the identity

    Source: He et al. (2015), arXiv 1512.03385, eq. 1 and 2.
    """

    body: Layer
    shortcut: Layer | None = None

    def children(self):
        return {"body": self.body} | ({} if self.shortcut is None else {"shortcut": self.shortcut})

    def forward(self, x, training=False, rectified=False):
        z, shortcut = (x, None) if self.shortcut is None else self.shortcut.forward(x, training)
        if rectified and training and self._ends_normalised:
            y, body = self.body.forward(x, training, added=z)
            return y, (body, shortcut)
        y, body = self.body.forward(x, training)
        return relu.add(y, z, rectified), (body, shortcut)

    @property
    def _ends_normalised(self) -> bool:
        """Whether what leaves the body is normalised last, and can be added to there and then."""
        return type(self.body) is Sequential and type(self.body.last) is BatchNorm

    def backward(self, dy, cache, x=None):
        """With x, that came out of a ReLU, the gradient goes on through that, in the pass that adds both ways."""
        body, shortcut = cache
        dx = self.body.backward(dy, body)
        other = dy if self.shortcut is None else self.shortcut.backward(dy, shortcut)
        return relu.add(dx, other, False) if x is None else relu.backward(dx, x, other)

    def fused(self, following):
        return ResidualStack([self], rectified=True) if type(following) is ReLU else None

    def output_shape(self, shape):
        body = self.body.output_shape(shape)
        other = shape if self.shortcut is None else self.shortcut.output_shape(shape)
        if body != other:
            raise ValueError(f"Residual cannot add {body} of its body to {other} of its shortcut")
        return body

    @classmethod
    def examples(cls):
        return [
            (cls(Sequential([Linear(4, 3), ReLU(), Linear(3, 4)])), (4,)),
            (cls(Conv2d(2, 3, 3, stride=2, padding=1), PaddedShortcut(3)), (2, 4, 5)),
        ]


class ResidualStack(Fused):
    """Residuals with a ReLU behind each, in fewer passes over memory; the last one perhaps without."""

    def __init__(self, residuals: list[Residual], rectified: bool):
        self.residuals = residuals
        self.rectified = rectified

    def forward(self, x, training=False):
        caches, ys = [], []
        for i, residual in enumerate(self.residuals, 1):
            x, cache = residual.forward(x, training, self.rectified or i < len(self.residuals))
            caches.append(cache)
            ys.append(x)
        return x, (caches, ys)

    def backward(self, dy, cache):
        caches, ys = cache
        dy = relu.backward(dy, ys[-1]) if self.rectified else dy
        for residual, its_cache, x in reversed([*zip(self.residuals[1:], caches[1:], ys[:-1], strict=True)]):
            dy = residual.backward(dy, its_cache, x)
        return self.residuals[0].backward(dy, caches[0])

    def fused(self, following):
        if self.rectified:
            return ResidualStack([*self.residuals, following], False) if type(following) is Residual else None
        return ResidualStack(self.residuals, True) if type(following) is ReLU else None


@dataclass(eq=False)
class PaddedShortcut(Layer):
    """Every stride-th pixel, and channels of zeros at the end up to O: x (C, H, W, N) -> y (O, Ho, Wo, N).

    Parameters
    ----------
    outputs : O, at least C
    stride : Ho = ceil(H / stride)

    It is computed as the convolution that it is, of 1 x 1 pixels with W[o, c] = [o = c].

    Source: He et al. (2015), arXiv 1512.03385, section 3.3, option A; no parameters.
    """

    outputs: int
    stride: int = 2

    def setup(self) -> None:
        expect_integers(self, 1, "outputs", "stride")
        self.geometry = Geometry((1, 1), self.stride)
        self._identity: Store | None = None

    def forward(self, x, training=False):
        return self._weight(len(x), x.dtype).convolve(x, self.geometry), x.shape

    def backward(self, dy, cache):
        shape = cache
        return self._weight(shape[0], dy.dtype).rconvolve(dy, self.geometry, shape)

    def _weight(self, channels: int, dtype: np.dtype) -> Store:
        """The identity of so many channels; the same one each time, with what the kernels have worked out."""
        shape = self.outputs, channels, 1, 1
        if self._identity is None or (self._identity.shape, self._identity.values.dtype) != (shape, dtype):
            diagonal, rest = np.arange(channels) * (channels + 1), Init("constant", 0.0)
            identity = SparseStore(shape, diagonal, np.ones(channels, dtype), rest)
            self._identity = identity.to_dense() if dtype.kind == "c" else identity
        return self._identity

    def output_shape(self, shape):
        fits = len(shape) == 3 and shape[0] <= self.outputs
        expect_shape(self, fits, shape, f"images of at most {self.outputs} channels, (C, H, W)")
        return (self.outputs, -(-shape[1] // self.stride), -(-shape[2] // self.stride))

    @classmethod
    def examples(cls):
        return [(cls(5), (2, 4, 5)), (cls(2, stride=1), (2, 3, 3))]
