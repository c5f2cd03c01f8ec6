"""The places of a sparse matrix's entries: compressed sparse rows, checked once and immutable from then on.

The entries of row o are those with indptr[o] <= k < indptr[o + 1]; entry k stands in column indices[k]. No order
of columns is required; a repeated column adds up.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LIMIT = 2**31
"""Where rows, columns and entries are fewer, 32 bits hold every index."""
FORMS = 8
"""Forms of a pattern that are held at a time: a convolution asks for two a size of image."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """Places of the entries of a matrix (O, I), each with its own unchangeable copy in memory.

    Parameters
    ----------
    indptr : (O + 1,) int32 or int64, rising from 0 to K
    indices : (K,) of the same dtype, within [0, I)
    columns : I; every index is held as int32 where O, I and K lie below 2^31, as int64 elsewhere

    Raises
    ------
    ValueError : malformed arrays.
    """

    indptr: np.ndarray
    indices: np.ndarray
    columns: int

    def __post_init__(self):
        # copies are what is checked, so that nobody can change them between check and use
        indptr, indices = np.array(self.indptr), np.array(self.indices)
        columns = operator.index(self.columns)
        _check(indptr, indices, columns)
        dtype = np.int32 if max(len(indptr) - 1, columns, len(indices)) < LIMIT else np.int64
        object.__setattr__(self, "indptr", _frozen(indptr, dtype))
        object.__setattr__(self, "indices", _frozen(indices, dtype))
        object.__setattr__(self, "columns", columns)

    def __reduce__(self):
        return Pattern, (self.indptr, self.indices, self.columns)

    @cached_property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.columns

    @cached_property
    def wide(self) -> bool:
        """Whether the indices are int64."""
        return self.indices.dtype == np.int64

    @property
    def row_of(self) -> np.ndarray:
        """Rows of the entries: (K,), like the indices."""
        return np.repeat(np.arange(self.shape[0], dtype=self.indices.dtype), np.diff(self.indptr))

    @cached_property
    def order(self) -> np.ndarray:
        """The entries column by column, rows rising within each: (K,), like the indices."""
        return _frozen(np.argsort(self.indices, kind="stable"), self.indices.dtype)

    @cached_property
    def transpose(self) -> "Pattern":
        """Places of the entries of the transpose; its entry j is entry order[j] of this one."""
        counts = np.bincount(self.indices, minlength=self.columns)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return Pattern(indptr, self.row_of[self.order].astype(np.int64), self.shape[0])

    @cached_property
    def rises(self) -> bool:
        """Whether the columns rise strictly within each row."""
        rises = np.concatenate([[True], self.indices[1:] > self.indices[:-1], [True]])
        rises[self.indptr] = True
        return bool(rises.all())

    @cached_property
    def _splits(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def cuts(self, width: int) -> np.ndarray | None:
        """Where the entries of row o in columns t width to (t + 1) width - 1 begin: (tiles + 1, O), like indptr.

        None unless the columns of each row rise.
        """
        if ("cuts", width) not in self._splits:
            o, columns = self.shape
            if not self.rises:
                return None
            place = self.row_of.astype(np.int64) * columns + self.indices
            edges = np.minimum(np.arange(0, columns + width, max(width, 1)), columns)
            cuts = np.searchsorted(place, edges[:, None] + np.arange(o) * columns)
            self._splits["cuts", width] = _frozen(cuts, self.indptr.dtype).reshape(cuts.shape)
        return self._splits["cuts", width]

    def parts(self, count: int) -> np.ndarray:
        """Borders of `count` runs of rows with about the same work each: (count + 1,) int64, from 0 to O."""
        key = "parts", count
        if key not in self._splits:
            work = self.indptr + 4 * np.arange(len(self.indptr), dtype=np.int64)
            borders = np.searchsorted(work, work[-1] * np.arange(count + 1) // count)
            self._splits[key] = _frozen(borders, np.int64)
        return self._splits[key]

    @cached_property
    def _held(self) -> dict[tuple, tuple]:
        return {}

    def held(self, make: Callable, *arguments) -> tuple:
        """make(self, *arguments), a tuple that is kept for the next call; the last FORMS of them are."""
        key = make.__name__, *arguments
        found = self._held.get(key)
        if found is None:
            found = make(self, *arguments)
            for old in list(self._held)[: 1 - FORMS]:
                self._held.pop(old, None)
            self._held[key] = found
        return found

    @property
    def nbytes(self) -> int:
        """Bytes held, with what the products have asked for so far: the transpose, the borders of tiles."""
        made = [self.__dict__[name] for name in ("order", "transpose") if name in self.__dict__]
        made += [part for form in self._held.values() for part in form if isinstance(part, np.ndarray)]
        return sum(part.nbytes for part in (self.indptr, self.indices, *made, *self._splits.values()))


def _check(indptr: np.ndarray, indices: np.ndarray, columns: int) -> None:
    if indptr.ndim != 1 or indices.ndim != 1 or not len(indptr):
        raise ValueError("indptr and indices must be vectors, indptr with at least one entry")
    if indptr.dtype != indices.dtype or indptr.dtype not in (np.int32, np.int64):
        raise ValueError(f"indptr ({indptr.dtype}) and indices ({indices.dtype}) must both be int32 or both int64")
    if not 0 <= columns < 2**63:
        raise ValueError(f"columns={columns} must lie in [0, 2^63)")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"indptr must rise from 0 to {len(indices)}, the number of entries")
    if len(indices) and (indices.min() < 0 or indices.max() >= columns):
        raise ValueError(f"indices must lie in [0, {columns}), the number of columns")


def _frozen(index: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The index in memory that cannot be made writable again."""
    return np.frombuffer(index.astype(dtype).tobytes(), dtype)
