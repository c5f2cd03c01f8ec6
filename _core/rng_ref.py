"""Regeneration: any initial value from its index alone, bit for bit, on every platform.

A 64-bit key and a 64-bit index are mixed by the MurmurHash3 finaliser, all arithmetic modulo 2^32;
the upper half of the key enters between its two multiplications, so that two keys never give
shifted copies of one sequence:

    x  = lo(i) * 0x9E3779B9 + hi(i) * 0x7FEB352D + lo(key)
    x ^= x >> 16;  x *= 0x85EBCA6B;  x ^= x >> 13
    x += hi(key) + hi(i) * 0x846CA68B
    x *= 0xC2B2AE35;  x ^= x >> 16

Floats are one integer, exact in float32, times one constant, so a single rounding decides each bit:

    normal    z = (b0 + b1 + b2 + b3 - 510) * scale / sqrt(21845)      the four bytes of x: mean 0, variance
                                                                      scale^2, |z| < 3.46 scale, excess kurtosis -0.3
    uniform   u = (2 (x >> 8) + 1 - 2^24) * scale * sqrt(3) / 2^24     variance scale^2, |u| < 1.74 scale

Source: A. Appleby, MurmurHash3 (public domain); the counter in place of DropBack's xorshift (Golub et
al., 2018, arXiv 1806.06949), whose low-order structure shows in a weight matrix's singular values.
"""

import math

import numpy as np


def bits(key: int, start: int, count: int) -> np.ndarray:
    """Hash of the indices start, start + 1, ..., start + count - 1: (count,) uint32.

    Parameters
    ----------
    key : int in [0, 2^64)
    start, count : int >= 0, start + count <= 2^63
    """
    _check_range(key, start, count)
    return _mix(key, np.arange(start, start + count, dtype=np.uint64))


def bits_at(key: int, index: np.ndarray) -> np.ndarray:
    """Hash of any indices, in any order: index (K,) int64 >= 0 -> (K,) uint32."""
    _check_range(key, 0, 0)
    return _mix(key, _check_index(index).astype(np.uint64))


def normal(key: int, start: int, count: int, scale: float) -> np.ndarray:
    """Near-normal values of mean 0 and standard deviation `scale` at a range: (count,) float32."""
    return _to_normal(bits(key, start, count), scale)


def normal_at(key: int, index: np.ndarray, scale: float) -> np.ndarray:
    """Near-normal values at any indices: index (K,) int64 -> (K,) float32."""
    return _to_normal(bits_at(key, index), scale)


def uniform(key: int, start: int, count: int, scale: float) -> np.ndarray:
    """Uniform values of mean 0 and standard deviation `scale` at a range: (count,) float32."""
    return _to_uniform(bits(key, start, count), scale)


def uniform_at(key: int, index: np.ndarray, scale: float) -> np.ndarray:
    """Uniform values at any indices: index (K,) int64 -> (K,) float32."""
    return _to_uniform(bits_at(key, index), scale)


def _mix(key: int, index: np.ndarray) -> np.ndarray:
    low, high = (index & np.uint64(0xFFFFFFFF)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    x = low * np.uint32(0x9E3779B9) + high * np.uint32(0x7FEB352D) + np.uint32(key & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x += high * np.uint32(0x846CA68B) + np.uint32(key >> 32)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def _to_normal(x: np.ndarray, scale: float) -> np.ndarray:
    total = sum(((x >> np.uint32(8 * byte)) & np.uint32(0xFF)).astype(np.int32) for byte in range(4))
    return (total - np.int32(510)).astype(np.float32) * np.float32(scale / math.sqrt(21845.0))


def _to_uniform(x: np.ndarray, scale: float) -> np.ndarray:
    centred = 2 * (x >> np.uint32(8)).astype(np.int32) + np.int32(1 - 2**24)
    return centred.astype(np.float32) * np.float32(scale * math.sqrt(3.0) / 16777216.0)


def _check_range(key: int, start: int, count: int) -> None:
    if not 0 <= key < 2**64:
        raise ValueError(f"key={key} must lie in [0, 2^64)")
    if start < 0 or count < 0 or start + count > 2**63:
        raise ValueError(f"start={start}, count={count} must be >= 0 and their sum at most 2^63")


def _check_index(index: np.ndarray) -> np.ndarray:
    index = np.asarray(index)
    if index.ndim != 1 or index.dtype != np.int64:
        raise ValueError(f"index must be a vector of int64, not {index.ndim}-dimensional {index.dtype}")
    if index.size and index.min() < 0:
        raise ValueError(f"index holds {index.min()}: indices are >= 0")
    return index


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for key in (0, 1, 2**32, 2**64 - 1, int(generator.integers(2**63))):
        for start, count in ((0, 0), (0, 1), (5, 1000), (2**32 - 3, 7), (2**63 - 4, 4)):
            yield "bits", (key, start, count)
            yield "normal", (key, start, count, 0.7)
            yield "uniform", (key, start, count, 1e-3)
        index = generator.integers(0, 2**63 - 1, size=257)
        for name, scale in (("bits_at", ()), ("normal_at", (1.0,)), ("uniform_at", (30.0,))):
            yield name, (key, index, *scale)
            yield name, (key, index[:0], *scale)
