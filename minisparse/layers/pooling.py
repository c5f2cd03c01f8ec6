"""Pooling over windows of pixels, and over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minisparse._core import pool
from minisparse.layers.base import Layer, expect_integers, expect_shape
from minisparse.stores import Geometry


@dataclass(eq=False)
class _Window:
    """What both poolings share: x (C, H, W, N) -> y (C, Ho, Wo, N), Ho = floor((H + 2 padding - kernel) / stride) + 1.

    Parameters
    ----------
    kernel : height and width of the window
    stride : default None takes the kernel's size, so that windows do not overlap
    padding : at most half the kernel, so that every window holds a pixel
    """

    kernel: int
    stride: int | None = None
    padding: int = 0

    def setup(self) -> None:
        expect_integers(self, 1, "kernel")
        expect_integers(self, 0, "padding")
        if self.stride is not None:
            expect_integers(self, 1, "stride")
        if 2 * self.padding > self.kernel:
            raise ValueError(f"padding={self.padding} must be at most half of kernel={self.kernel}")
        self.geometry = Geometry((self.kernel, self.kernel), self.stride or self.kernel, self.padding)

    def output_shape(self, shape):
        expect_shape(self, len(shape) == 3, shape, "images (C, H, W)")
        return (shape[0], *self.geometry.output_size(*shape[1:]))

    @classmethod
    def examples(cls):
        return [(cls(2), (2, 4, 5)), (cls(3, stride=2, padding=1), (2, 5, 6)), (cls(3, stride=1), (1, 4, 3))]


@dataclass(eq=False)
class MaxPool2d(_Window, Layer):
    """y = the largest pixel of the window, to which alone the gradient goes; padding never wins, NaN always does."""

    def forward(self, x, training=False):
        y, winner = pool.maximum(self.geometry.pad(x, -np.inf), self.kernel, self.geometry.stride)
        return y, (winner, x.shape)

    def backward(self, dy, cache):
        winner, (_, h, w, _) = cache
        p = self.padding
        padded = pool.maximum_backward(dy, winner, self.kernel, self.geometry.stride, h + 2 * p, w + 2 * p)
        return padded[:, p : p + h, p : p + w]


def is_halving(layer: Layer) -> bool:
    """Whether it is a MaxPool2d of windows of 2 x 2, side by side, as others fuse themselves with."""
    return type(layer) is MaxPool2d and layer.geometry == Geometry((2, 2), 2)


@dataclass(eq=False)
class AvgPool2d(_Window, Layer):
    """y = the sum of the window's pixels / kernel^2; padding counts as zeros (PyTorch's count_include_pad)."""

    def forward(self, x, training=False):
        size = self.geometry.output_size(*x.shape[1:3])
        total = sum(self._taps(self.geometry.pad(x), *size))
        return total / self.kernel**2, x.shape

    def backward(self, dy, cache):
        shape = cache
        (c, h, w, n), p = shape, self.padding
        padded = np.zeros((c, h + 2 * p, w + 2 * p, n), dy.dtype)
        share = dy / self.kernel**2
        for tap in self._taps(padded, *dy.shape[1:3]):
            tap += share
        return padded[:, p : p + h, p : p + w]

    def _taps(self, padded: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
        """For each place in the window, the pixels there: kernel^2 views (C, Ho, Wo, N)."""
        s = self.geometry.stride
        for i in range(self.kernel):
            for j in range(self.kernel):
                yield padded[:, i : i + s * height : s, j : j + s * width : s]


@dataclass(eq=False)
class GlobalAvgPool(Layer):
    """y = the mean over all pixels: x (C, H, W, N) -> y (C, N)."""

    def forward(self, x, training=False):
        return x.mean(axis=(1, 2)), x.shape

    def backward(self, dy, cache):
        shape = cache
        share = dy / (shape[1] * shape[2])
        return np.broadcast_to(share[:, None, None, :], shape).copy()

    def output_shape(self, shape):
        expect_shape(self, len(shape) == 3, shape, "images (C, H, W)")
        return shape[:1]

    @classmethod
    def examples(cls):
        return [(cls(), (3, 4, 2)), (cls(), (2, 1, 1))]
