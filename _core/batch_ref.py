"""Samples of a data set as a batch that a network takes: moved and mirrored, chosen, batch last, normalised.

    y[f, j] = (x[index[j], f] - shift[f]) scale[f]                              (1)
    z[j, c, a, b] = x[j, c, a + top[j], b + left[j]], 0 outside the image;
                    columns from last to first where mirrored[j]                (2)

Eq. 1 in float32, in the order that is written.
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


def crop(x: np.ndarray, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """z (n, C, H, W) like x, eq. 2.

    Parameters
    ----------
    x : (n, C, H, W) uint8 or float32
    top, left : (n,) int64, of any size
    mirrored : (n,) bool

    Raises
    ------
    ValueError : dtypes or shapes that do not fit.
    """
    check_images(x, top, left, mirrored)
    z = np.zeros_like(x)
    for image, moved, *corner, turned in zip(z, x, top, left, mirrored, strict=True):
        here, there = zip(*(_overlap(size, int(by)) for size, by in zip(x.shape[2:], corner, strict=True)), strict=True)
        image[:, *here] = moved[:, *there]
        if turned:
            image[...] = image[..., ::-1].copy()
    return z


def _overlap(size: int, by: int) -> tuple[slice, slice]:
    """Which places of an axis show some of the image, and which of the image's these are."""
    first, last = max(0, -by), min(size, size - by)
    return (slice(first, last), slice(first + by, last + by)) if first < last else (slice(0, 0), slice(0, 0))


def check_images(x: np.ndarray, top: np.ndarray, left: np.ndarray, mirrored: np.ndarray) -> None:
    """ValueError unless these fit."""
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32):
        raise ValueError(f"x is {x.dtype} {x.shape}, expected uint8 or float32 images (n, C, H, W)")
    for name, vector, dtype in (("top", top, np.int64), ("left", left, np.int64), ("mirrored", mirrored, np.bool_)):
        if vector.shape != x.shape[:1] or vector.dtype != dtype:
            raise ValueError(f"{name} is {vector.dtype} {vector.shape}, expected {np.dtype(dtype)}, one an image")


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
    for shape in ((0, 3, 4, 5), (1, 1, 1, 1), (3, 0, 2, 2), (3, 2, 0, 2), (3, 2, 2, 0), (9, 3, 7, 5), (64, 1, 28, 28)):
        for reach in (0, 1, 4, 9):
            top, left = generator.integers(-reach, reach + 1, size=(2, shape[0]))
            mirrored = generator.integers(2, size=shape[0]).astype(bool)
            yield "crop", (generator.integers(256, size=shape, dtype=np.uint8), top, left, mirrored)
            yield "crop", (generator.normal(size=shape).astype(np.float32), top, left, mirrored)
    far = np.array([2**62, -(2**62), 2**62, -(2**63)])
    yield "crop", (np.ones((4, 1, 3, 3), np.uint8), far, far[::-1].copy(), np.zeros(4, bool))
