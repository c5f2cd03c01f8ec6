"""Group normalisation."""

from dataclasses import dataclass

import numpy as np

from minisparse.layers.base import Layer, expect_integers, expect_shape
from minisparse.params import Init, Parameter


@dataclass(eq=False)
class GroupNorm(Layer):
    """Each group of channels of each sample to mean 0 and variance 1: x (C, H, W, N) or (C, N), y of one shape with x.

        xhat = (x - mean) / sqrt(var + eps)        mean, var over C / groups channels and all pixels
        y    = gain[c] xhat + bias[c]

    The same in training and evaluation; a sample's output does not depend on the others of its batch.

    Parameters
    ----------
    groups : divides `channels`; 1 normalises over the whole sample, `channels` over each channel
    channels : C
    eps : > 0

    Source: Wu and He (2018), arXiv 1803.08494, eq. 1 to 6.
    """

    groups: int
    channels: int
    eps: float = 1e-5

    def setup(self) -> None:
        expect_integers(self, 1, "groups", "channels")
        if self.channels % self.groups:
            raise ValueError(f"groups={self.groups} must divide channels={self.channels}")
        if not self.eps > 0:
            raise ValueError(f"eps={self.eps} of GroupNorm must be positive")
        self.params["gain"] = Parameter((self.channels,), Init("constant", 1.0), role="gain")
        self.params["bias"] = Parameter((self.channels,), Init("constant", 0.0), role="bias")

    def forward(self, x, training=False):
        grouped = x.reshape(self.groups, -1, x.shape[-1])  # (groups, m, N)
        centred = grouped - grouped.mean(axis=1, keepdims=True)
        inverse = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + self.eps)
        xhat = (centred * inverse).reshape(len(x), -1)  # (C, H W N)
        y = self.params["gain"].value()[:, None] * xhat + self.params["bias"].value()[:, None]
        return y.reshape(x.shape), (xhat, inverse)

    def backward(self, dy, cache):
        xhat, inverse = cache
        rows = dy.reshape(xhat.shape)
        self.params["gain"].store.add_gradient((rows * xhat).sum(axis=1))
        self.params["bias"].store.add_gradient(rows.sum(axis=1))
        # dx = (d - mean(d) - xhat mean(d xhat)) / sqrt(var + eps),  d = gain dy
        shape = (self.groups, -1, dy.shape[-1])
        d = (self.params["gain"].value()[:, None] * rows).reshape(shape)
        xhat = xhat.reshape(shape)
        mean, slope = d.mean(axis=1, keepdims=True), (d * xhat).mean(axis=1, keepdims=True)
        return ((d - mean - xhat * slope) * inverse).reshape(dy.shape)

    def output_shape(self, shape):
        fits = len(shape) in (1, 3) and shape[0] == self.channels
        expect_shape(self, fits, shape, f"{self.channels} channels, (C,) or (C, H, W)")
        return shape

    @classmethod
    def examples(cls):
        return [(cls(2, 6), (6,)), (cls(2, 4, eps=1e-3), (4, 3, 2)), (cls(3, 3), (3, 2, 2)), (cls(1, 2), (2, 3, 3))]
