"""A weight is an operator: what a layer may ask of it, whatever way it is stored.

W has shape (O, ...) and acts as a matrix (O, I) with I the product of the other axes. With groups,
x has groups * I rows and the rows of W meet only their own group's rows of x.
"""

from abc import ABC, abstractmethod

import numpy as np

from minisparse._core import bias
from minisparse.stores.convolution import Geometry, Pooling, normalised


class Store(ABC):
    """Trainable values, their gradient, and the three products of training.

    Attributes
    ----------
    shape : of the whole weight
    values, grad : the stored entries and their gradient, arrays of one shape, float32 or float64
    rest : Init - the value of every entry off the mask
    mask : bool array of `shape`, or None when every entry is kept
    frozen : whether entries off the mask stay there; else they compete for a place
    """

    shape: tuple[int, ...]
    values: np.ndarray
    frozen: bool
    _grad: np.ndarray | None = None

    @property
    def grad(self) -> np.ndarray:
        if self._grad is None:
            self._grad = np.zeros_like(self.values)
        return self._grad

    @grad.setter
    def grad(self, gradient: np.ndarray) -> None:
        self._grad = gradient

    def zero_grad(self) -> None:
        """Begin a step: no gradient yet."""
        self._grad = None

    def _add_own(self, gradient: np.ndarray) -> None:
        """grad += gradient, an array of its shape that is nobody else's: the first of a step is the sum so far."""
        if self._grad is None:
            self._grad = gradient.astype(self.values.dtype, casting="same_kind", copy=False)
        else:
            self._grad += gradient

    @abstractmethod
    def dense(self) -> np.ndarray:
        """The whole weight as an array of `shape`."""

    @abstractmethod
    def rest_values(self) -> np.ndarray:
        """The rest values of the entries in `values`, same shape, float32."""

    @abstractmethod
    def matmul(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        """y = W x: x (groups I, N) -> (O, N)."""

    def affine(self, x: np.ndarray, b: np.ndarray, rectified: bool = False, groups: int = 1) -> np.ndarray:
        """y = W x + b, max(y, 0) where `rectified`: x (groups I, N), b (O,) -> (O, N)."""
        y = self.matmul(x, groups)
        bias.add(y, b.astype(y.dtype, copy=False), rectified)
        return y

    @abstractmethod
    def rmatmul(self, dy: np.ndarray, groups: int = 1) -> np.ndarray:
        """dx = W^T dy: dy (O, N) -> (groups I, N)."""

    @abstractmethod
    def accumulate(self, dy: np.ndarray, x: np.ndarray, groups: int = 1) -> None:
        """grad += dy x^T, at the stored entries."""

    @abstractmethod
    def add_gradient(self, gradient: np.ndarray) -> None:
        """grad += gradient (of `shape`), at the stored entries."""

    @abstractmethod
    def memory(self) -> dict[str, int]:
        """Bytes held: values, index (places of the stored entries), grad."""

    def convolve(
        self, x: np.ndarray, geometry: Geometry, b: np.ndarray | None = None, normal: np.ndarray | None = None
    ) -> np.ndarray:
        """y = W * x + b: x (C, H, W, N), b (O,) -> (O, Ho, Wo, N); x normalised first where `normal` (C, 4) says so."""
        if normal is not None:
            return self.convolve(normalised(x, normal), geometry, b)
        columns, groups = geometry.unfold(x), geometry.groups
        y = self.matmul(columns, groups) if b is None else self.affine(columns, b, groups=groups)
        return y.reshape(self.shape[0], *geometry.output_size(*x.shape[1:3]), x.shape[3])

    def convolve_pooled(
        self, x: np.ndarray, geometry: Geometry, b: np.ndarray | None = None
    ) -> tuple[np.ndarray, Pooling]:
        """The largest y of each window of 2 x 2, (O, Ho // 2, Wo // 2, N), and which they are."""
        return Pooling.of(self.convolve(x, geometry, b))

    def rconvolve(
        self, dy: np.ndarray, geometry: Geometry, shape: tuple[int, ...], pooling: Pooling | None = None
    ) -> np.ndarray:
        """dx, the transpose of convolve: dy (O, Ho, Wo, N), or that of the pooled pixels -> `shape` (C, H, W, N)."""
        if pooling is not None:
            return self.rconvolve(pooling.spread(dy, geometry.output_size(*shape[1:3])), geometry, shape)
        return geometry.fold(self.rmatmul(dy.reshape(len(dy), -1), geometry.groups), shape)

    def accumulate_convolution(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        geometry: Geometry,
        pooling: Pooling | None = None,
        normal: np.ndarray | None = None,
    ) -> None:
        """grad += the gradient of convolve at the stored entries, dy as for rconvolve, x as for convolve."""
        if normal is not None:
            return self.accumulate_convolution(dy, normalised(x, normal), geometry, pooling)
        if pooling is not None:
            return self.accumulate_convolution(pooling.spread(dy, geometry.output_size(*x.shape[1:3])), x, geometry)
        self.accumulate(dy.reshape(len(dy), -1), geometry.unfold(x), geometry.groups)

    def backpropagate_convolution(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        geometry: Geometry,
        pooling: Pooling | None = None,
        normal: np.ndarray | None = None,
    ) -> np.ndarray:
        """accumulate_convolution, and what rconvolve gives."""
        self.accumulate_convolution(dy, x, geometry, pooling, normal)
        return self.rconvolve(dy, geometry, x.shape, pooling)
