"""Values that are whole multiples of one step, as quantisers leave them: the step once, and which multiple each is.

    step, float32 | lowest multiple (varint: 2k for k >= 0, -2k - 1 below) | multiple - lowest, as `Arithmetic` codes it

No bytes at all for no entries.
Beside a code book this saves four bytes a level, which counts where a file has a few thousand bytes.
"""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs import bits
from minisparse.codecs.arithmetic import Arithmetic
from minisparse.codecs.base import Codec, check_count, check_vector

HIGHEST = 2**15 - 1
"""Multiple, of either sign."""
SMALLEST = 16
"""The smallest size of a value is at most this multiple of the step."""


@dataclass(frozen=True)
class Multiples(Codec):
    """A vector of float32, each of them float32(k) step for an integer k; +0 is one, -0 is not.

    The step is the largest that gives all values and is, in float32, the smallest non-zero size over 1, 2, ... or 16.
    """

    name = "multiples"

    def encode(self, array):
        check_vector(array, np.float32)
        if not len(array):
            return b""
        step = common_step(array)
        if step is None:
            raise ValueError("array holds a value that is no whole multiple of one step")
        k = np.rint(array / step).astype(np.int64)
        lowest = int(k.min())
        coded = Arithmetic().encode((k - lowest).astype(np.uint32))
        return step.astype("<f4").tobytes() + bits.put_varint(2 * lowest if lowest >= 0 else -2 * lowest - 1) + coded

    def decode(self, data, count):
        check_count(count)
        if not count and not data:
            return np.empty(0, np.float32)
        if len(data) < 4 or not count:
            raise ValueError(f"{count} multiples cannot be in {len(data)} bytes")
        step = np.frombuffer(data[:4], "<f4").astype(np.float32)[0]
        coded, start = bits.take_varint(data[4:])
        lowest = -(coded + 1) // 2 if coded % 2 else coded // 2
        k = lowest + Arithmetic().decode(data[4 + start :], count).astype(np.int64)
        if not 0 < step < np.inf or max(abs(lowest), int(np.abs(k).max())) > HIGHEST:
            raise ValueError(f"multiples from {lowest} of {step} are none that this codec writes")
        with np.errstate(over="ignore"):
            values = k.astype(np.float32) * step
        if k.min() != lowest or common_step(values) != step:
            raise ValueError(f"{lowest} is not the lowest multiple, or {step} not the largest step")
        return values

    @classmethod
    def examples(cls):
        step = np.float32(0.1)
        whole = [[], [0.5], [-1, 1], [3, 6, -9, 0], np.arange(-7, 8), [2, 3], np.repeat([-3, 0, 2], 30), [32_767, 1]]
        return [(cls(), np.asarray(k, np.float32) * step) for k in whole]


def common_step(values: np.ndarray) -> np.float32 | None:
    """The step of which all values (n,) are multiples, as `Multiples` says; None if there is none."""
    sizes = np.abs(values)
    sizes = sizes[sizes > 0]  # without NaN
    if not len(sizes) or not np.isfinite(values).all() or (np.signbit(values) & (values == 0)).any():
        return None
    smallest, largest = sizes.min(), sizes.max()
    for m in range(1, SMALLEST + 1):
        step = smallest / np.float32(m)
        if step == 0 or np.float64(largest) / np.float64(step) > HIGHEST + 0.5:
            return None
        if (np.rint(sizes / step) * step == sizes).all():
            return step
    return None
