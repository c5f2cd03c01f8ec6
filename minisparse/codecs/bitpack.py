"""Words of one width, and masks as a bit an entry."""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs import bits
from minisparse.codecs.base import Codec, MaskCodec, check_count, check_integer, check_vector


@dataclass(frozen=True)
class Bitpack(Codec):
    """A vector of uint32 below 2^width.

    Parameters
    ----------
    width : bits a word, 1 to 16
    """

    name = "bitpack"
    width: int

    def __post_init__(self):
        check_integer("width", self.width, 1, 16)

    def encode(self, array):
        check_vector(array, np.uint32)
        if array.max(initial=0) >> self.width:
            raise ValueError(f"array holds {array.max()}, which takes more than width={self.width} bits")
        return bits.pack_fixed(array, self.width)

    def decode(self, data, count):
        check_count(count)
        return bits.unpack_fixed(data, self.width, count)

    @classmethod
    def examples(cls):
        return [
            (cls(width), np.arange(count, dtype=np.uint32) * 40503 % np.uint32(2**width))
            for width, count in ((1, 0), (1, 1), (1, 9), (3, 8), (5, 7), (16, 3))
        ]


@dataclass(frozen=True)
class Bitmap(MaskCodec):
    """A mask: a vector of bool."""

    name = "bitmap"

    def encode(self, array):
        check_vector(array, bool)
        return np.packbits(array).tobytes()

    def places(self, data, count):
        check_count(count)
        if len(data) != (count + 7) // 8 or (count % 8 and data[-1] << count % 8 & 255):
            raise ValueError(f"{count} bits and zeros after them must fill {len(data)} bytes")
        return np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8), count=count))

    @classmethod
    def examples(cls):
        return [(cls(), np.arange(count) % 3 == 0) for count in (0, 1, 8, 13)]
