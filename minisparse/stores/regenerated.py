"""The store of a weight in true memory: the kept entries, while all the others compete for their places.

Entries off the mask have a gradient, which decides who enters; but the gradient of all entries is as large as the
weight. So this store keeps its operands instead, activations that the step holds anyway, and makes the gradient of
some rows at a time:

    dW[rows] = dy[rows] x^T                                                                  (1)

of which `candidates` lets through what passes a bound that rises on the way.
"""

from collections.abc import Callable, Iterator

import numpy as np

from minisparse._core import BACKEND, conv, regen
from minisparse.stores.base import Store
from minisparse.stores.sparse import TILE, SparseStore, part

AS_DENSE = BACKEND == "reference"
"""Whether kept entries take their gradient out of eq. 1, and zeros are multiplied like other entries at rest.

So does a dense store, and both agree to the bit. Compiled, the products on the mask alone are far faster, and round
in another order.
"""


class RegeneratedStore(SparseStore):
    """A sparse store whose entries need not be frozen; other parameters as there.

    Unless frozen it holds the operands of every `accumulate`, whose memory must not change, until `zero_grad`.
    """

    def __init__(self, shape: tuple[int, ...], index: np.ndarray, values: np.ndarray, rest, frozen: bool = False):
        super().__init__(shape, index, values, rest)
        self.frozen = frozen
        self._gradients: list[Callable[[slice, int], np.ndarray]] = []
        self._groups = 1

    def zero_grad(self) -> None:
        super().zero_grad()
        self._gradients = []

    def accumulate(self, dy: np.ndarray, x: np.ndarray, groups: int = 1) -> None:
        if not AS_DENSE:
            super().accumulate(dy, x, groups)
        if not self.frozen and self.rows // groups * self.columns > TILE:
            x = np.asfortranarray(x)  # x^T contiguous, once for all tiles
        self._add(lambda rows, group: regen.gradient(dy[rows], part(x, group, groups)), groups)

    def accumulate_convolution(self, dy, x, geometry, pooling=None, normal=None):
        if pooling is not None or normal is not None or not geometry.fits_kernels(self.values, dy, x):
            return Store.accumulate_convolution(self, dy, x, geometry, pooling, normal)
        if not AS_DENSE:
            super().accumulate_convolution(dy, x, geometry)
        groups, setting = geometry.groups, (*geometry.kernel, geometry.stride, geometry.padding, 1)
        self._add(lambda rows, group: conv.weight_gradient(dy[rows], part(x, group, groups), *setting), groups)

    def add_gradient(self, gradient: np.ndarray) -> None:
        if not AS_DENSE:
            super().add_gradient(gradient)
        matrix = gradient.astype(self.values.dtype, copy=False).reshape(self.rows, self.columns)
        self._add(lambda rows, group: matrix[rows], self._groups)

    def candidates(
        self, rate: float, bound: Callable[[], tuple[float, int]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Entries at rest that one step w - rate g would move to or past a bound.

        Parameters
        ----------
        rate : learning rate
        bound : asked before each tile for (threshold, place): an entry is let through if its distance from rest
            is > threshold, or = threshold at a flat index < place

        Yields
        ------
        flat index (M,) int64, increasing, gradient (M,) and distance (M,), a tile at a time

        Raises
        ------
        ValueError : a NaN gradient.
        """
        *weight, _ = self._weight()
        for rows, group in self._tiles(self._groups):
            yield regen.candidates(*weight, self._gradient(rows, group), rows.start, rate, *bound())

    @property
    def _rest_is_nothing(self) -> bool:
        return super()._rest_is_nothing and not AS_DENSE

    def _add(self, gradient: Callable[[slice, int], np.ndarray], groups: int) -> None:
        """Eq. 1 as a function of (rows, their group)."""
        if not self.frozen:
            self._gradients.append(gradient)
            self._groups = groups
        if AS_DENSE:
            for rows, group in self._tiles(groups):
                row, column, entries = self._entries(rows)
                self.grad[entries] += gradient(rows, group).reshape(-1, self.columns)[row, column]

    def _gradient(self, rows: slice, group: int) -> np.ndarray:
        """Eq. 1, summed over all that was accumulated: (R, I)."""
        shape = rows.stop - rows.start, self.columns
        terms = [gradient(rows, group).reshape(shape) for gradient in self._gradients]
        return sum(terms[1:], terms[0]) if terms else np.zeros(shape, self.values.dtype)
