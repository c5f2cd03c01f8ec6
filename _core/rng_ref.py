"""Regeneration: any initial value from its index alone, bit for bit, on every platform.

A 64-bit key and a 64-bit index are mixed by the MurmurHash3 finaliser, all arithmetic modulo 2^32. The
key is first mixed by SplitMix64, once a call, so that similar keys share neither half; its upper half
enters between the two multiplications, so that two keys never give shifted copies of one sequence:

    k  = splitmix64(key)
    x  = lo(i) * 0x9E3779B9 + hi(i) * 0x7FEB352D + lo(k)
    x ^= x >> 16;  x *= 0x85EBCA6B;  x ^= x >> 13
    x += hi(k) + hi(i) * 0x846CA68B
    x *= 0xC2B2AE35;  x ^= x >> 16

Floats are one integer, exact in float32, times one constant, so a single rounding decides each bit:

    normal    z = (b0 + b1 + b2 + b3 - 510) * scale / sqrt(21845)      the four bytes of x: mean 0, variance
                                                                      scale^2, |z| < 3.46 scale, excess kurtosis -0.3
    uniform   u = (2 (x >> 8) + 1 - 2^24) * scale * sqrt(3) / 2^24     variance scale^2, |u| < 1.74 scale

Source: A. Appleby, MurmurHash3 (public domain); G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014 (SplitMix64); the counter in place of DropBack's xorshift (Golub et
al., 2018, arXiv 1806.06949), whose low-order structure shows in a weight matrix's singular values.
"""

import math
import operator

import numpy as np

MASK64 = 2**64 - 1


def bits(key: int, start: int, count: int) -> np.ndarray:
    """Hash of the indices start, start + 1, ..., start + count - 1: (count,) uint32.

    Parameters
    ----------
    key : int in [0, 2^64)
    start, count : int >= 0, start + count <= 2^63

    Raises
    ------
    ValueError : key, start or count out of range.
    """
    key, start, count = check_range(key, start, count)
    return _mix(key, np.arange(start, start + count, dtype=np.uint64))


def bits_at(key: int, index: np.ndarray) -> np.ndarray:
    """Hash of any indices, in any order: index (K,) int64 >= 0 -> (K,) uint32.

    Raises
    ------
    ValueError : key out of range, or an index that is no vector of int64 >= 0.
    """
    key, index = check_index(key, index)
    return _mix(key, index.astype(np.uint64))


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


def _mixed_halves(key: int) -> tuple[int, int]:
    """lo and hi of splitmix64(key)."""
    k = (key + 0x9E3779B97F4A7C15) & MASK64
    k = (k ^ k >> 30) * 0xBF58476D1CE4E5B9 & MASK64
    k = (k ^ k >> 27) * 0x94D049BB133111EB & MASK64
    k ^= k >> 31
    return k & 0xFFFFFFFF, k >> 32


def _mix(key: int, index: np.ndarray) -> np.ndarray:
    k0, k1 = map(np.uint32, _mixed_halves(key))
    low, high = (index & np.uint64(0xFFFFFFFF)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    x = low * np.uint32(0x9E3779B9) + high * np.uint32(0x7FEB352D) + k0
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x += high * np.uint32(0x846CA68B) + k1
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def _to_normal(x: np.ndarray, scale: float) -> np.ndarray:
    total = sum(((x >> np.uint32(8 * byte)) & np.uint32(0xFF)).astype(np.int32) for byte in range(4))
    return (total - np.int32(510)).astype(np.float32) * np.float32(float(scale) / math.sqrt(21845.0))


def _to_uniform(x: np.ndarray, scale: float) -> np.ndarray:
    centred = 2 * (x >> np.uint32(8)).astype(np.int32) + np.int32(1 - 2**24)
    return centred.astype(np.float32) * np.float32(float(scale) * math.sqrt(3.0) / 16777216.0)


def check_range(key: int, start: int, count: int) -> tuple[int, int, int]:
    """The three as Python integers, or ValueError."""
    key, start, count = operator.index(key), operator.index(start), operator.index(count)
    if not 0 <= key < 2**64:
        raise ValueError(f"key={key} must lie in [0, 2^64)")
    if start < 0 or count < 0 or start + count > 2**63:
        raise ValueError(f"start={start}, count={count} must be >= 0 and their sum at most 2^63")
    return key, start, count


def check_index(key: int, index: np.ndarray) -> tuple[int, np.ndarray]:
    """The key as a Python integer and the index as an array, or ValueError."""
    key, _, _ = check_range(key, 0, 0)
    index = np.asarray(index)
    if index.ndim != 1 or index.dtype != np.int64:
        raise ValueError(f"index must be a vector of int64, not {index.ndim}-dimensional {index.dtype}")
    if index.size and index.min() < 0:
        raise ValueError(f"index holds {index.min()}: indices are >= 0")
    return key, index


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for key in (0, 1, 2**32, 2**64 - 1, int(generator.integers(2**63))):
        for start, count in ((0, 0), (0, 1), (5, 1000), (2**32 - 3, 7), (2**63 - 4, 4), (2**63, 0)):
            yield "bits", (key, start, count)
            yield "normal", (key, start, count, 0.7)
            yield "normal", (key, start, count, np.float32(0.1))
            yield "uniform", (key, start, count, 1e-3)
        index = generator.integers(0, 2**63 - 1, size=257)
        for name, scale in (("bits_at", ()), ("normal_at", (1.0,)), ("uniform_at", (30.0,))):
            yield name, (key, index, *scale)
            yield name, (key, index[:0], *scale)
