"""Values whose sizes are alike: sign and exponent coded, the other bits as they are.

    bytes of the first part (varint) | sign and exponent, 9 bits, as `Arithmetic` codes them | 23 bits a value

Of trained weights, sign and exponent have 3 to 4 bits of entropy in their 9, the fraction nearly all of its 23.
"""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs import bits
from minisparse.codecs.arithmetic import Arithmetic
from minisparse.codecs.base import Codec, check_count, check_vector

FRACTION = 23
"""Bits of a float32 behind sign and exponent."""


@dataclass(frozen=True)
class Split(Codec):
    """A vector of float32; every bit is kept, also those of NaN and -0."""

    name = "split"

    def encode(self, array):
        check_vector(array, np.float32)
        words = np.ascontiguousarray(array).view(np.uint32)
        coded = Arithmetic().encode(words >> FRACTION)
        return bits.put_varint(len(coded)) + coded + bits.pack_fixed(words & (2**FRACTION - 1), FRACTION)

    def decode(self, data, count):
        check_count(count)
        size, start = bits.take_varint(data)
        stop = start + size
        fractions = bits.unpack_fixed(data[stop:], FRACTION, count)
        values = np.empty(count, np.float32)
        values.view(np.uint32)[...] = Arithmetic().decode(data[start:stop], count) << FRACTION | fractions
        return values

    @classmethod
    def examples(cls):
        odd = np.array([0x7FC00001, 0x7F800001, 0x80000000, 0x00000001, 0xFF800000, 0xFFFFFFFF], np.uint32)
        vectors = [odd.view(np.float32), odd[:0].view(np.float32), np.full(9, 0.1), 1 / np.arange(1, 40)]
        return [(cls(), np.asarray(vector, np.float32)) for vector in vectors]
