"""Samples of a data set as a batch that a network takes: chosen, batch last, normalised.

    y[f, j] = (x[index[j], f] - shift[f]) scale[f]                              (1)

in float32, in the order that is written.
"""

import numpy as np


def gather(x: np.ndarray, index: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """y (F, n) float32, eq. 1.

    Parameters
    ----------
    x : (M, F) uint8 or float32
    index : (n,) int64, in [0, M)
    shift, scale : (F,) float32

    Raises
    ------
    ValueError : dtypes, shapes or places that do not fit.
    """
    check_samples(x, index, shift, scale)
    with np.errstate(all="ignore"):
        return (np.ascontiguousarray(x[index].T).astype(np.float32) - shift[:, None]) * scale[:, None]


def check_samples(x: np.ndarray, index: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> None:
    """ValueError unless these fit."""
    if x.ndim != 2 or x.dtype not in (np.uint8, np.float32):
        raise ValueError(f"x is {x.dtype} {x.shape}, expected uint8 or float32, a row a sample")
    if index.ndim != 1 or index.dtype != np.int64:
        raise ValueError(f"index is {index.dtype} {index.shape}, expected a vector of int64")
    if len(index) and (index.min() < 0 or index.max() >= len(x)):
        raise ValueError(f"index reaches from {index.min()} to {index.max()}: there are {len(x)} samples")
    for vector in (shift, scale):
        if vector.shape != x.shape[1:] or vector.dtype != np.float32:
            raise ValueError(f"{vector.dtype} {vector.shape} must be float32, one number a column of x {x.shape}")


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for m, f, n in ((1, 1, 1), (5, 3, 0), (5, 0, 3), (7, 5, 4), (50, 70, 33), (40, 784, 128)):
        index = generator.integers(m, size=n)
        shift, scale = generator.normal(size=(2, f)).astype(np.float32)
        yield "gather", (generator.integers(256, size=(m, f), dtype=np.uint8), index, shift, scale)
        yield "gather", (generator.normal(size=(m, f)).astype(np.float32), index, shift, scale)
