"""The plain store: every entry in an ndarray."""

import numpy as np

from minisparse._core import conv, dense
from minisparse._core.relu_ref import REAL
from minisparse.stores.base import Store
from minisparse.stores.convolution import Pooling


class DenseStore(Store):
    """W as an ndarray, with the mask as a fact beside it: entries off the mask sit at rest.

    A frozen mask gives entries off it no gradient, as in the sparse store. While a method still moves
    the mask (`frozen` False) all entries get theirs, since those off the mask compete for a place.
    """

    def __init__(self, values: np.ndarray, rest, mask: np.ndarray | None = None, frozen: bool = True):
        self.values = values
        self.rest = rest
        self.mask = mask
        self.frozen = frozen

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def kept(self) -> int:
        return self.values.size if self.mask is None else int(np.count_nonzero(self.mask))

    def dense(self) -> np.ndarray:
        return self.values

    def rest_values(self) -> np.ndarray:
        return self.rest.range(0, self.values.size).reshape(self.shape)

    def matmul(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        if self._fits_kernel(groups, x):
            return dense.matmul(self._matrix, x)
        return np.matmul(self._matrices(groups), _split(x, groups)).reshape(len(self.values), -1)

    def affine(self, x, b, rectified=False, groups=1):
        if not self._fits_kernel(groups, x) or b.dtype != x.dtype:
            return super().affine(x, b, rectified, groups)
        return dense.affine(self._matrix, x, b, rectified)

    def rmatmul(self, dy: np.ndarray, groups: int = 1) -> np.ndarray:
        if self._fits_kernel(groups, dy):
            return dense.rmatmul(self._matrix, dy)
        dx = np.matmul(self._matrices(groups).swapaxes(1, 2), _split(dy, groups))
        return dx.reshape(groups * dx.shape[1], dy.shape[1])

    def accumulate(self, dy: np.ndarray, x: np.ndarray, groups: int = 1) -> None:
        if self._fits_kernel(groups, x) and dy.dtype == x.dtype:
            self._add_own(dense.outer(dy, x))
        else:
            self._add_own(np.matmul(_split(dy, groups), _split(x, groups).swapaxes(1, 2)))

    def convolve(self, x, geometry, b=None, normal=None):
        if not geometry.fits_kernels(self.values, x):
            return super().convolve(x, geometry, b, normal)
        return conv.convolve(self.values, x, *geometry.settings[2:], b, normal)

    def convolve_pooled(self, x, geometry, b=None):
        if not geometry.fits_kernels(self.values, x):
            return super().convolve_pooled(x, geometry, b)
        y, winner = conv.convolve_pooled(self.values, x, *geometry.settings[2:], b)
        return y, Pooling(winner)

    def rconvolve(self, dy, geometry, shape, pooling=None):
        if not geometry.fits_kernels(self.values, dy):
            return super().rconvolve(dy, geometry, shape, pooling)
        return conv.input_gradient(self.values, dy, *shape[1:3], *geometry.settings[2:], *(pooling or ()))

    def accumulate_convolution(self, dy, x, geometry, pooling=None, normal=None):
        if not geometry.fits_kernels(self.values, dy, x):
            return super().accumulate_convolution(dy, x, geometry, pooling, normal)
        self._add_own(conv.weight_gradient(dy, x, *geometry.settings, pooling and pooling.winner, normal))

    def add_gradient(self, gradient: np.ndarray) -> None:
        self._add_own(gradient.copy())

    def _add_own(self, gradient: np.ndarray) -> None:
        gradient = gradient.reshape(self.shape)
        if self.mask is not None and self.frozen:
            put_at_rest(gradient, self.mask)
        super()._add_own(gradient)

    def memory(self) -> dict[str, int]:
        mask = 0 if self.mask is None else self.mask.nbytes
        return {"values": self.values.nbytes, "index": mask, "grad": self.grad.nbytes}

    def _fits_kernel(self, groups: int, operand: np.ndarray) -> bool:
        """Whether the core's product is the way: one group, and real operands of one precision."""
        return groups == 1 and operand.dtype == self.values.dtype and operand.dtype in REAL

    @property
    def _matrix(self) -> np.ndarray:
        return self.values if self.values.ndim == 2 else self.values.reshape(len(self.values), -1)

    def _matrices(self, groups: int) -> np.ndarray:
        return self.values.reshape(groups, len(self.values) // groups, -1)


def put_at_rest(values: np.ndarray, mask: np.ndarray, rest: np.ndarray | None = None) -> None:
    """In place: entries off the mask become those of `rest`, or 0; NaN goes too.

    On the bits of the numbers, since a branch an entry takes up to thirty times as long.
    """
    if values.dtype.kind == "c":
        np.copyto(values, 0 if rest is None else rest, where=~mask)
        return
    bits, kept = values.view(f"i{values.itemsize}"), -mask.view(np.int8)  # all ones, or none
    if rest is None:
        bits &= kept
        return
    other = rest.astype(values.dtype, copy=False).view(bits.dtype)
    bits ^= other
    bits &= kept
    bits ^= other


def _split(x: np.ndarray, groups: int) -> np.ndarray:
    return x.reshape(groups, len(x) // groups, -1)
