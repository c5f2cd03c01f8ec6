"""Numbers as they are, little endian."""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs.base import Codec, check_count, check_vector

DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(frozen=True)
class Raw(Codec):
    """A vector of one dtype; every bit is kept, also those of NaN and -0.

    Parameters
    ----------
    dtype : float32, float64, or an integer type
    """

    name = "raw"
    dtype: str = "float32"

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is unknown: use one of {', '.join(DTYPES)}")

    def encode(self, array):
        check_vector(array, self.dtype)
        return array.astype(self._little, copy=False).tobytes()

    def decode(self, data, count):
        check_count(count)
        expected = count * self._little.itemsize
        if len(data) != expected:
            raise ValueError(f"{count} values of {self.dtype} take {expected} bytes, not {len(data)}")
        return np.frombuffer(data, self._little).astype(self.dtype)

    @property
    def _little(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    @classmethod
    def examples(cls):
        odd = np.array([0x7FC00001, 0x7F800001, 0x80000000, 0x00000001, 0xFF800000], np.uint32).view(np.float32)
        vectors = [odd, np.zeros(0, np.float32), np.array([1e-320, -0.0, np.nan]), np.array([-1, 2**62])]
        vectors += [np.arange(3, dtype=dtype) for dtype in DTYPES]
        return [(cls(vector.dtype.name), vector) for vector in vectors]
