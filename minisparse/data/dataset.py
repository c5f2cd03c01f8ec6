"""A data set: raw samples in their own compact type, split once and for all, normalised when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from minisparse import rng
from minisparse._core import batch

TEST_SEED = 0
"""A test set that is split off is the same for every seed, so that runs are compared on the same samples."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and labels; a sample's value is (raw - shift) * scale in float32.

    Parameters
    ----------
    x : (N, ...) uint8 or float32, raw
    labels : (N,) int64, from 0
    shift, scale : float32, broadcast over a sample: (C, 1, 1), or () for all alike
    """

    x: np.ndarray
    labels: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def samples(self, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Normalised samples, batch first: (n, ...) float32, new memory."""
        values = self.x[index].astype(np.float32)
        if self.shift.any():
            values -= self.shift
        values *= self.scale
        return values

    def batch_last(self, index: np.ndarray, raw: np.ndarray | None = None) -> np.ndarray:
        """Normalised samples, of this split or of `raw` ones like them: (..., n) float32, C-contiguous."""
        raw = self.x if raw is None else raw
        values = batch.gather(raw.reshape(len(raw), -1), index, *self._units)
        return values.reshape(*raw.shape[1:], len(index))

    @cached_property
    def _units(self) -> list[np.ndarray]:
        """Shift and scale of each number of a sample."""
        shape = self.x.shape[1:]
        return [np.ascontiguousarray(np.broadcast_to(unit, shape)).reshape(-1) for unit in (self.shift, self.scale)]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits that together are all samples.

    Parameters
    ----------
    name : what to give to `load` for it
    input_shape : of one sample, (C, H, W) or (I,)
    classes : number of labels
    train, validation, test : Split
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    train: Split
    validation: Split
    test: Split

    @property
    def shift(self) -> np.ndarray:
        return self.train.shift

    @property
    def scale(self) -> np.ndarray:
        return self.train.scale

    def standardised(self) -> Dataset:
        """The same samples with mean 0 and standard deviation 1 over all raw values of the training split."""
        raw = self.train.x.astype(np.float64)
        units = {"shift": np.float32(raw.mean()), "scale": np.float32(1 / raw.std())}
        splits = {part: replace(getattr(self, part), **units) for part in ("train", "validation", "test")}
        return replace(self, name=f"{self.name}, standardised", **splits)

    def __repr__(self) -> str:
        counts = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"Dataset({self.name!r}, {self.input_shape}, classes={self.classes}, {counts})"


def from_arrays(
    name: str,
    training: tuple[np.ndarray, np.ndarray],
    testing: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    seed: int = 0,
    validation: int | None = None,
    test: int | None = None,
    classes: int | None = None,
    shift: float | np.ndarray = 0.0,
    scale: float | np.ndarray | None = None,
) -> Dataset:
    """A data set of your own arrays.

    Parameters
    ----------
    training, testing : x (N, I), (N, H, W) or (N, C, H, W), uint8 or floating; y (N,) whole numbers from 0.
        Images without a channel axis get one; floating values are kept as float32.
    seed : validation is drawn from `training` by the stream (seed, "validation")
    validation : number of samples, by default a tenth
    test : number of samples when `testing` is None, by default a fifth; the same samples for every seed
    classes : by default the largest label + 1
    shift, scale : a sample's value is (raw - shift) * scale; by default uint8 is scaled to [0, 1]

    Raises
    ------
    ValueError : shapes, types, lengths or values that do not fit, or too few samples.
    """
    x, y = _checked(*training, "train")
    if testing is None:
        held = len(x) // 5 if test is None else test
        rest, chosen = hold_out(len(x), held, rng.Stream(TEST_SEED, "test"))
        x_test, y_test, x, y = x[chosen], y[chosen], x[rest], y[rest]
    else:
        x_test, y_test = _checked(*testing, "test")
    if (x.shape[1:], x.dtype) != (x_test.shape[1:], x_test.dtype):
        raise ValueError(f"x_train is {x.dtype} {x.shape} but x_test {x_test.dtype} {x_test.shape}; make them alike")
    held = len(x) // 10 if validation is None else validation
    rest, chosen = hold_out(len(x), held, rng.Stream(seed, "validation"))
    largest = int(max(y.max(), y_test.max(initial=0)))
    if classes is not None and largest >= classes:
        raise ValueError(f"y holds the label {largest}; with classes={classes} labels run from 0 to {classes - 1}")
    if scale is None:
        scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    units = np.asarray(shift, np.float32), np.asarray(scale, np.float32)
    return Dataset(
        name,
        x.shape[1:],
        largest + 1 if classes is None else classes,
        Split(x[rest], y[rest], *units),
        Split(x[chosen], y[chosen], *units),
        Split(x_test, y_test, *units),
    )


def hold_out(total: int, count: int, stream: rng.Stream) -> tuple[np.ndarray, np.ndarray]:
    """Indices (total - count,) that stay and (count,) that are drawn, both ascending.

    Raises
    ------
    ValueError : nothing would be drawn, or nothing would stay.
    """
    if not 0 < count < total:
        raise ValueError(f"{count} of {total} samples cannot be held out: at least one must be drawn and one stay")
    order = stream.permutation(total)
    return np.sort(order[count:]), np.sort(order[:count])


def _checked(x: np.ndarray, y: np.ndarray, which: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.ascontiguousarray(x), np.asarray(y)
    if x.ndim not in (2, 3, 4):
        raise ValueError(f"x_{which} has shape {x.shape}; use (N, I), (N, H, W) or (N, C, H, W)")
    if x.dtype != np.uint8:
        x = _finite(x, which)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y_{which} must be whole numbers of shape (N,), not {y.dtype} {y.shape}")
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x_{which} has {len(x)} samples and y_{which} {len(y)} labels; give one label a sample")
    if y.min() < 0 or y.max() >= 2**31:
        raise ValueError(f"y_{which} holds labels from {y.min()} to {y.max()}; number the classes from 0")
    return x[:, None] if x.ndim == 3 else x, y.astype(np.int64)


def _finite(x: np.ndarray, which: str) -> np.ndarray:
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"x_{which} is {x.dtype}; use uint8 or float32")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"x_{which} holds NaN, infinity or numbers beyond float32; replace them")
    return x
