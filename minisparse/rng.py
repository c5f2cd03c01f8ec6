"""Every random choice of a run, from one seed and the name of what is chosen.

A stream is addressed by name - `Stream(seed, "batches", epoch)` - and not by the order of calls, so a
resumed run, a second method or a new layer never shifts anyone else's numbers. All bits come from
the counter hash of `minisparse._core.rng`: the same on every platform, NumPy version and backend.
"""

import hashlib
import json

import numpy as np

from minisparse._core import rng as kernel


def key(seed: int, *names: str | int) -> int:
    """A 64-bit key for the stream with these names; different names give unrelated keys.

    Raises
    ------
    ValueError : seed outside [0, 2^63).
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed} must lie in [0, 2^63)")
    text = json.dumps([int(seed), *names]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Stream:
    """Random numbers of one name, read one after the other from position 0."""

    def __init__(self, seed: int, *names: str | int):
        self.key = key(seed, *names)
        self.position = 0

    def bits(self, count: int) -> np.ndarray:
        """The next `count` words: (count,) uint32."""
        words = kernel.bits(self.key, self.position, count)
        self.position += count
        return words

    def uniform(self, count: int) -> np.ndarray:
        """In [0, 1), multiples of 2^-32: (count,) float64."""
        return self.bits(count) * 2.0**-32

    def integers(self, high: int, count: int) -> np.ndarray:
        """In [0, high), high <= 2^32, uniform to within high / 2^32: (count,) int64."""
        return (self.bits(count).astype(np.uint64) * np.uint64(high) >> np.uint64(32)).astype(np.int64)

    def permutation(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order: (count,) int64."""
        return np.argsort(self.bits(count), kind="stable")
