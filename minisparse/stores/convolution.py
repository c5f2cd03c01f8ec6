"""The geometry of a convolution: which input pixel meets which weight at which output pixel.

Batch last: x (C, H, W, N). Unfolding lists, for each output pixel, the C kh kw inputs under the
kernel, so that a convolution is the product W (O, C kh kw) @ columns (C kh kw, Ho Wo N).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from minisparse._core import norm, pool
from minisparse._core.relu_ref import REAL


@dataclass(frozen=True)
class Geometry:
    """Kernel (kh, kw), stride, zero padding on each side, and groups of channels."""

    kernel: tuple[int, int]
    stride: int = 1
    padding: int = 0
    groups: int = 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(Ho, Wo) for an (H, W) image; ValueError if the kernel does not fit."""
        sizes = tuple(
            (size + 2 * self.padding - kernel) // self.stride + 1
            for size, kernel in zip((height, width), self.kernel, strict=True)
        )
        if min(sizes) < 1:
            raise ValueError(
                f"kernel {self.kernel} with padding {self.padding} does not fit a {height} x {width} image"
            )
        return sizes

    @cached_property
    def is_product(self) -> bool:
        """Whether a convolution is one matrix product on x as it stands."""
        return self.kernel == (1, 1) and self.stride == 1 and self.padding == 0

    @cached_property
    def settings(self) -> tuple[int, ...]:
        """(kh, kw, stride, padding, groups)."""
        return *self.kernel, self.stride, self.padding, self.groups

    def fits_kernels(self, values: np.ndarray, x: np.ndarray, dy: np.ndarray | None = None) -> bool:
        """Whether the core's convolutions are the way: real operands of one precision, and more than one product."""
        alike = values.dtype == x.dtype and (dy is None or dy.dtype == x.dtype)
        return alike and x.dtype in REAL and not self.is_product

    def windows(self, padded: np.ndarray) -> np.ndarray:
        """A view (C, kh, kw, Ho, Wo, N) of a padded image (C, H + 2p, W + 2p, N)."""
        view = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(1, 2))
        return view[:, :: self.stride, :: self.stride].transpose(0, 4, 5, 1, 2, 3)

    def unfold(self, x: np.ndarray) -> np.ndarray:
        """(C, H, W, N) -> (C kh kw, Ho Wo N)."""
        c, h, w, n = x.shape
        if self.is_product:
            return x.reshape(c, h * w * n)
        ho, wo = self.output_size(h, w)
        return self.windows(self.pad(x)).reshape(c * self.kernel[0] * self.kernel[1], ho * wo * n)

    def fold(self, columns: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
        """The transpose of unfold: sums columns back onto an image of this shape (C, H, W, N)."""
        c, h, w, n = shape
        kh, kw = self.kernel
        if self.is_product:
            return columns.reshape(shape)
        p, s = self.padding, self.stride
        ho, wo = self.output_size(h, w)
        columns = columns.reshape(c, kh, kw, ho, wo, n)
        image = np.zeros((c, h + 2 * p, w + 2 * p, n), columns.dtype)
        for i in range(kh):
            for j in range(kw):
                image[:, i : i + s * ho : s, j : j + s * wo : s] += columns[:, i, j]
        return image[:, p : p + h, p : p + w]

    def pad(self, x: np.ndarray, value: float = 0.0) -> np.ndarray:
        """(C, H, W, N) -> (C, H + 2p, W + 2p, N) with `value` around."""
        p = self.padding
        return np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=value) if p else x


class Pooling(NamedTuple):
    """Which pixel was the largest of each window of 2 x 2, side by side.

    Parameters
    ----------
    winner (O, Ho // 2, Wo // 2, N) : uint8, 2 u + v for the pixel (u, v) of its window
    """

    winner: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray) -> tuple[np.ndarray, Pooling]:
        """The largest of each window of y (O, Ho, Wo, N), and which they are."""
        largest, winner = pool.maximum(y, 2, 2)
        return largest, cls(winner.astype(np.uint8))

    def spread(self, dy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """dy of the largest pixels as that of all, (O, *size, N), which is zero for the others."""
        return pool.maximum_backward(dy, self.winner.astype(np.int32), 2, 2, *size)


def normalised(x: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """max(gain (x - mean) inverse + bias, 0) of x (C, H, W, N), `normal` (C, 4) these four of each channel."""
    return norm.normalise(x.reshape(len(x), -1), normal, True).reshape(x.shape)
