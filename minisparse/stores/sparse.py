"""The sparse store: the kept entries as CSR, everything else at its rest value.

rest 0: the others are zero and take no part in any product.
rest 1: the others are their initial values, regenerated a tile at a time inside the product and
forgotten again, so that nothing of the size of W is ever held.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from minisparse._core import regen, regen_ref, spconv, spmm
from minisparse._core.pattern import Pattern
from minisparse.stores.base import Store
from minisparse.stores.convolution import Pooling
from minisparse.stores.dense import DenseStore

TILE = regen_ref.TILE
"""Most entries regenerated at a time where a product has groups or is a convolution, in whole rows."""


class SparseStore(Store):
    """CSR of the kept entries over a rest value.

    Parameters
    ----------
    shape : (O, ...), a matrix (O, I) to the products; a vector (n,) is one row
    index : (K,) int64, flat places of the kept entries, strictly increasing
    values : (K,) float32 or float64
    rest : Init, the value of all other entries

    Attributes
    ----------
    pattern : the places of the entries in the matrix (O, I)
    """

    frozen = True

    def __init__(self, shape: tuple[int, ...], index: np.ndarray, values: np.ndarray, rest):
        self.shape = tuple(shape)
        self.rows = shape[0] if len(shape) > 1 else 1
        self.columns = int(np.prod(shape)) // max(self.rows, 1)
        if len(index) != len(values):
            raise ValueError(f"index ({len(index)}) and values ({len(values)}) must have one length")
        if len(index) and (index[0] < 0 or index[-1] >= np.prod(shape) or (np.diff(index) <= 0).any()):
            raise ValueError(f"index must increase strictly within [0, {np.prod(shape)})")
        indptr = np.searchsorted(index, np.arange(self.rows + 1) * self.columns)
        self.pattern = Pattern(indptr, index.astype(np.int64) % max(self.columns, 1), self.columns)
        self._grouped_patterns: dict[int, Pattern] = {}
        self.values = values
        self.rest = rest

    @classmethod
    def from_dense(cls, store: DenseStore) -> "SparseStore":
        """The same weight; ValueError if an entry off the mask is not at rest."""
        if store.mask is None:
            return cls(store.shape, np.arange(store.values.size), store.values.ravel().copy(), store.rest)
        if ((store.values != store.rest_values()) & ~store.mask).any():
            raise ValueError("an entry off the mask is not at its rest value: call Parameter.keep(mask) first")
        index = np.flatnonzero(store.mask)
        return cls(store.shape, index, store.values.ravel()[index], store.rest)

    def to_dense(self) -> DenseStore:
        return DenseStore(self.dense(), self.rest, self.mask, self.frozen)

    @property
    def index(self) -> np.ndarray:
        """Flat places of the kept entries: (K,) int64."""
        row = np.repeat(np.arange(self.rows), np.diff(self.pattern.indptr))
        return row * self.columns + self.pattern.indices

    @property
    def mask(self) -> np.ndarray:
        mask = np.zeros(self.shape, bool)
        mask.reshape(-1)[self.index] = True
        return mask

    @property
    def kept(self) -> int:
        return len(self.values)

    def dense(self) -> np.ndarray:
        return self._tile(slice(0, self.rows)).values.reshape(self.shape)

    def rest_values(self) -> np.ndarray:
        return self.rest.at(self.index)

    def matmul(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        if self._rest_is_nothing:
            return spmm.matmul(self._grouped(groups), self.values, x)
        if groups == 1:
            return regen.matmul(*self._weight(), x)
        y = np.empty((self.rows, x.shape[1]), x.dtype)
        for rows, group in self._tiles(groups):
            y[rows] = self._tile(rows).matmul(part(x, group, groups))
        return y

    def affine(self, x, b, rectified=False, groups=1):
        if not self._rest_is_nothing or b.dtype != x.dtype:
            return super().affine(x, b, rectified, groups)
        return spmm.affine(self._grouped(groups), self.values, x, b, rectified)

    def rmatmul(self, dy: np.ndarray, groups: int = 1) -> np.ndarray:
        if self._rest_is_nothing:
            return spmm.rmatmul(self._grouped(groups), self.values, dy)
        if groups == 1:
            return regen.rmatmul(*self._weight(), dy)
        dx = np.zeros((groups * self.columns, dy.shape[1]), dy.dtype)
        for rows, group in self._tiles(groups):
            part(dx, group, groups)[...] += self._tile(rows).rmatmul(dy[rows])
        return dx

    def accumulate(self, dy: np.ndarray, x: np.ndarray, groups: int = 1) -> None:
        self._add_own(spmm.sampled(self._grouped(groups), dy, x))

    def convolve(self, x, geometry, b=None, normal=None):
        if not geometry.fits_kernels(self.values, x) or (normal is not None and not self._rest_is_nothing):
            return super().convolve(x, geometry, b, normal)
        if self._rest_is_nothing:
            return spconv.convolve(self.pattern, self.values, x, *geometry.settings, b, normal)
        y = np.empty((self.rows, *geometry.output_size(*x.shape[1:3]), x.shape[3]), x.dtype)
        for rows, group in self._tiles(geometry.groups):
            own = None if b is None else b[rows]
            y[rows] = self._tile(rows).convolve(part(x, group, geometry.groups), replace(geometry, groups=1), own)
        return y

    def convolve_pooled(self, x, geometry, b=None):
        if not geometry.fits_kernels(self.values, x) or not self._rest_is_nothing:
            return super().convolve_pooled(x, geometry, b)
        y, winner = spconv.convolve_pooled(self.pattern, self.values, x, *geometry.settings, b)
        return y, Pooling(winner)

    def rconvolve(self, dy, geometry, shape, pooling=None):
        if not geometry.fits_kernels(self.values, dy) or (pooling and not self._rest_is_nothing):
            return super().rconvolve(dy, geometry, shape, pooling)
        if self._rest_is_nothing:
            setting = *shape[:3], *geometry.settings, *(pooling or ())
            return spconv.input_gradient(self.pattern, self.values, dy, *setting)
        dx = np.zeros(shape, dy.dtype)
        for rows, group in self._tiles(geometry.groups):
            to = part(dx, group, geometry.groups)
            to += self._tile(rows).rconvolve(dy[rows], replace(geometry, groups=1), to.shape)
        return dx

    def accumulate_convolution(self, dy, x, geometry, pooling=None, normal=None):
        if not geometry.fits_kernels(self.values, dy, x):
            return super().accumulate_convolution(dy, x, geometry, pooling, normal)
        winner = pooling and pooling.winner
        self._add_own(spconv.weight_gradient(self.pattern, dy, x, *geometry.settings, winner, normal))

    def backpropagate_convolution(self, dy, x, geometry, pooling=None, normal=None):
        # entries that compete for a place have more to do with dy
        if not geometry.fits_kernels(self.values, dy, x) or not self._rest_is_nothing or not self.frozen:
            return super().backpropagate_convolution(dy, x, geometry, pooling, normal)
        winner = pooling and pooling.winner
        dw, dx = spconv.gradients(self.pattern, self.values, dy, x, *geometry.settings, winner, normal)
        self._add_own(dw)
        return dx

    def add_gradient(self, gradient: np.ndarray) -> None:
        self._add_own(gradient.reshape(-1)[self.index])

    def memory(self) -> dict[str, int]:
        index = sum(pattern.nbytes for pattern in (self.pattern, *self._grouped_patterns.values()))
        return {"values": self.values.nbytes, "index": index, "grad": self.grad.nbytes}

    @property
    def _rest_is_nothing(self) -> bool:
        """Whether products pass over the entries at rest."""
        return self.rest.is_zero

    def _weight(self) -> tuple:
        rest = self.rest
        return rest.kind, rest.key, rest.scale, rest.factor, self.pattern, self.values

    def _tile(self, rows: slice) -> DenseStore:
        """These rows as a weight of their own, the kept entries laid over regenerated ones."""
        count = rows.stop - rows.start
        rest = self.rest.range(rows.start * self.columns, rows.stop * self.columns)
        tile = rest.astype(self.values.dtype, copy=False).reshape(count, self.columns)
        row, column, entries = self._entries(rows)
        tile[row, column] = self.values[entries]
        return DenseStore(tile.reshape(count, *self.shape[1:]) if len(self.shape) > 1 else tile, self.rest)

    def _entries(self, rows: slice) -> tuple[np.ndarray, np.ndarray, slice]:
        """Row within the tile and column of the kept entries of these rows, and which entries they are."""
        borders = self.pattern.indptr[rows.start : rows.stop + 1]
        entries = slice(borders[0], borders[-1])
        return np.repeat(np.arange(len(borders) - 1), np.diff(borders)), self.pattern.indices[entries], entries

    def _tiles(self, groups: int) -> Iterator[tuple[slice, int]]:
        """Rows of a tile, and which group they are of."""
        step, each = max(1, TILE // max(self.columns, 1)), self.rows // groups
        for group in range(groups):
            for first in range(group * each, (group + 1) * each, step):
                yield slice(first, min(first + step, (group + 1) * each)), group

    def _grouped(self, groups: int) -> Pattern:
        """The pattern as it meets an operand of groups * I rows."""
        if groups == 1:
            return self.pattern
        if groups not in self._grouped_patterns:
            group = np.arange(self.rows) // (self.rows // groups)
            offset = np.repeat(group * self.columns, np.diff(self.pattern.indptr))
            indptr, indices = self.pattern.indptr.astype(np.int64), self.pattern.indices + offset
            self._grouped_patterns[groups] = Pattern(indptr, indices, groups * self.columns)
        return self._grouped_patterns[groups]


def part(x: np.ndarray, group: int, groups: int) -> np.ndarray:
    """The rows of an operand that a group meets."""
    each = len(x) // groups
    return x[group * each : (group + 1) * each]
