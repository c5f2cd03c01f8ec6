"""The plain store: every entry in an ndarray."""

import numpy as np

from minisparse.stores.base import Store


class DenseStore(Store):
    """W as an ndarray, with the mask as a fact beside it: entries off the mask sit at rest.

    The gradient is that of all entries, on the mask or off it, since methods that move the mask
    need both.
    """

    def __init__(self, values: np.ndarray, rest, mask: np.ndarray | None = None):
        self.values = values
        self.grad = np.zeros_like(values)
        self.rest = rest
        self.mask = mask

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def kept(self) -> int:
        return self.values.size if self.mask is None else int(np.count_nonzero(self.mask))

    def dense(self) -> np.ndarray:
        return self.values

    def matmul(self, x: np.ndarray, groups: int = 1) -> np.ndarray:
        return np.matmul(self._matrices(groups), _split(x, groups)).reshape(len(self.values), -1)

    def rmatmul(self, dy: np.ndarray, groups: int = 1) -> np.ndarray:
        dx = np.matmul(self._matrices(groups).swapaxes(1, 2), _split(dy, groups))
        return dx.reshape(-1, dy.shape[1])

    def accumulate(self, dy: np.ndarray, x: np.ndarray, groups: int = 1) -> None:
        dw = np.matmul(_split(dy, groups), _split(x, groups).swapaxes(1, 2))
        self.grad += dw.reshape(self.shape)

    def add_gradient(self, gradient: np.ndarray) -> None:
        self.grad += gradient

    def memory(self) -> dict[str, int]:
        mask = 0 if self.mask is None else self.mask.nbytes
        return {"values": self.values.nbytes, "index": mask, "grad": self.grad.nbytes}

    def _matrices(self, groups: int) -> np.ndarray:
        return self.values.reshape(groups, len(self.values) // groups, -1)


def _split(x: np.ndarray, groups: int) -> np.ndarray:
    return x.reshape(groups, len(x) // groups, -1)
