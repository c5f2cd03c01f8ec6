"""Batch normalisation."""

from dataclasses import dataclass

import numpy as np

from minisparse._core import norm
from minisparse.layers.activations import ReLU
from minisparse.layers.base import Fused, Layer, expect_integers, expect_shape
from minisparse.layers.conv import Conv2d
from minisparse.layers.pooling import is_halving
from minisparse.params import Init, Parameter
from minisparse.stores.convolution import Pooling


@dataclass(eq=False)
class BatchNorm(Layer):
    """Each channel to mean 0 and variance 1 over the batch: x (C, H, W, N) or (C, N), y of one shape with x.

        xhat = (x - mean) / sqrt(var + eps)                                                    (1)
        y    = gain xhat + bias                                                                (2)

    In training, mean and var are the batch's (var with divisor n, n values a channel), and the buffers follow:

        running = (1 - momentum) running + momentum batch                                      (3)

    where the running variance takes the batch's with divisor n - 1. In evaluation, eq. 1 uses the buffers.

    Parameters
    ----------
    channels : C
    momentum : in [0, 1], the weight of the newest batch
    eps : > 0

    Raises
    ------
    ValueError : in training, for a batch with a single value a channel.

    Source: Ioffe and Szegedy (2015), arXiv 1502.03167, algorithm 1; n - 1 and eq. 3 as in PyTorch.
    """

    channels: int
    momentum: float = 0.1
    eps: float = 1e-5

    def setup(self) -> None:
        expect_integers(self, 1, "channels")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum={self.momentum} of BatchNorm must lie in [0, 1]")
        if not self.eps > 0:
            raise ValueError(f"eps={self.eps} of BatchNorm must be positive")
        self.params["gain"] = Parameter((self.channels,), Init("constant", 1.0), role="gain")
        self.params["bias"] = Parameter((self.channels,), Init("constant", 0.0), role="bias")
        self.buffers["mean"] = np.zeros(self.channels, np.float32)
        self.buffers["var"] = np.ones(self.channels, np.float32)

    def forward(self, x, training=False, rectified=False, added=None):
        """In training `added`, of the shape of x, may be added to y before it is rectified."""
        rows = x.reshape(len(x), -1)  # (C, n)
        if training:
            # eq. 1 and 2
            added = None if added is None else added.reshape(rows.shape)
            y, mean, var = norm.forward(rows, *self.vectors(), self.eps, rectified, added)
            normal = self.follow(mean, var, rows)
        else:
            normal = self.statistics(rows, training)
            y = norm.normalise(rows, normal, rectified)
        return y.reshape(x.shape), (rows, normal, training)

    def vectors(self):
        """gain and bias."""
        return self.params["gain"].value(), self.params["bias"].value()

    def follow(self, mean, var, x):
        """mean, 1 / sqrt(var + eps), gain and bias of each channel, (C, 4), of a batch; the buffers follow, eq. 3."""
        buffers = self.buffers["mean"], self.buffers["var"]
        normal = norm.follow(mean, var, *self.vectors(), self.eps, x.size // len(x), self.momentum, *buffers)
        return normal.astype(x.dtype, copy=False)

    def backward(self, dy, cache, rectified=False):
        rows, normal, training = cache
        # dx = gain / sqrt(var + eps) (dy - mean(dy) - xhat mean(dy xhat)), the last two through eq. 1 if training
        dx, *gradients = norm.backward(dy.reshape(rows.shape), rows, normal, training, rectified)
        self.add_gradients(*gradients)
        return dx.reshape(dy.shape)

    def add_gradients(self, dgain, dbias) -> None:
        self.params["gain"].store.add_gradient(dgain)
        self.params["bias"].store.add_gradient(dbias)

    def statistics(self, rows, training):
        """What `follow` gives, of the batch or in evaluation of the buffers."""
        if training:
            return self.follow(*norm.statistics(rows), rows)
        inverse = 1 / np.sqrt(self.buffers["var"] + self.eps)
        return np.stack([self.buffers["mean"], inverse, *self.vectors()], axis=1).astype(rows.dtype)

    def fused(self, following):
        return RectifiedNorm(self) if type(following) is ReLU else None

    def output_shape(self, shape):
        fits = len(shape) in (1, 3) and shape[0] == self.channels
        expect_shape(self, fits, shape, f"{self.channels} channels, (C,) or (C, H, W)")
        return shape

    @classmethod
    def examples(cls):
        return [(cls(3), (3,)), (cls(2, momentum=0.3, eps=1e-3), (2, 3, 4))]


class RectifiedNorm(Fused):
    """A BatchNorm and the ReLU behind it in one pass over memory."""

    def __init__(self, norm: BatchNorm):
        self.norm = norm

    def forward(self, x, training=False):
        return self.norm.forward(x, training, rectified=True)

    def backward(self, dy, cache):
        return self.norm.backward(dy, cache, rectified=True)

    def fused(self, following):
        if type(following) is Conv2d:
            return NormalisedConv(self.norm, following)
        return PooledNorm(self.norm) if is_halving(following) else None


class PooledNorm(Fused):
    """A BatchNorm, its ReLU and a MaxPool2d(2): only what is pooled is written.

    The same to the bit, but that the sums of the gradient, over the winners alone, end in another order.
    """

    def __init__(self, norm: BatchNorm):
        self.norm = norm

    def forward(self, x, training=False):
        layer = self.norm
        if not training:
            y, (_, normal, _) = layer.forward(x, rectified=True)
            y, pooling = Pooling.of(y)
            return y, (x, pooling, normal, training)
        y, winner, mean, var = norm.forward_pooled(x, *layer.vectors(), layer.eps)
        return y, (x, Pooling(winner), layer.follow(mean, var, x), training)

    def backward(self, dy, cache):
        x, pooling, normal, training = cache
        dx, *gradients = norm.backward_pooled(dy, pooling.winner, x, normal, training)
        self.norm.add_gradients(*gradients)
        return dx


class NormalisedConv(Fused):
    """A BatchNorm, its ReLU and the Conv2d behind: x is normalised while the convolution reads it, never before."""

    def __init__(self, norm: BatchNorm, conv: Conv2d):
        self.norm = norm
        self.conv = conv

    def forward(self, x, training=False):
        rows = x.reshape(len(x), -1)  # (C, n)
        normal = self.norm.statistics(rows, training)
        y, _ = self.conv.forward(x, training, normal)
        return y, (x, (rows, normal, training))

    def backward(self, dy, cache):
        x, its_cache = cache
        _, normal, _ = its_cache
        return self.norm.backward(self.conv.backward(dy, x, normal), its_cache, rectified=True)
