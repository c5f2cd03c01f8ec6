"""Dropout."""

from dataclasses import dataclass

import numpy as np

from minisparse import rng
from minisparse.layers.base import Layer


@dataclass(eq=False)
class Dropout(Layer):
    """In training y = x m / (1 - p), each entry of m independently 0 with probability p, else 1; in evaluation y = x.

    The mask is read from the layer's own random stream, whose position is a buffer: a run that is
    resumed from its buffers draws the masks that it would have drawn.

    Parameters
    ----------
    p : in [0, 1)

    Source: Srivastava et al. (2014), JMLR 15, in the inverted form that leaves evaluation alone.
    """

    p: float = 0.5

    def setup(self) -> None:
        if not 0 <= self.p < 1:
            raise ValueError(f"p={self.p} of Dropout must lie in [0, 1)")
        self.buffers["position"] = np.zeros(1, np.int64)

    def forward(self, x, training=False):
        if not training or self.p == 0:
            return x, None
        stream = rng.Stream(0, "dropout", self.key)
        stream.position = int(self.buffers["position"][0])
        kept = stream.uniform(x.size) >= self.p
        self.buffers["position"][0] = stream.position
        # m / (1 - p)
        scale = (kept.astype(x.real.dtype) / (1 - self.p)).reshape(x.shape)
        return x * scale, scale

    def backward(self, dy, cache):
        scale = cache
        return dy if scale is None else dy * scale

    @classmethod
    def examples(cls):
        return [(cls(), (20,)), (cls(0.2), (2, 3, 4)), (cls(0.0), (3,))]
