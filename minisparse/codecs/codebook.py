"""Values that take few levels: the levels once, and which one each entry has.

    number of levels (varint) | levels, float32, increasing as integers | indices, coded

Levels are told apart by their bits, so -0 and every NaN come back as they were.
"""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs import bits
from minisparse.codecs.arithmetic import Arithmetic
from minisparse.codecs.base import Codec, check_count, check_vector
from minisparse.codecs.huffman import Huffman

CODERS: dict[str, Codec] = {"huffman": Huffman(), "arithmetic": Arithmetic(), "chain": Arithmetic(order=1)}
"""Ways to code the indices."""


@dataclass(frozen=True)
class Codebook(Codec):
    """A vector of float32; the empty vector has no bytes at all.

    Parameters
    ----------
    coder : of the indices: "huffman", "arithmetic", or "chain", arithmetic coding of order 1
    """

    name = "codebook"
    coder: str = "huffman"

    def __post_init__(self):
        if self.coder not in CODERS:
            raise ValueError(f"coder={self.coder!r} is unknown: use one of {', '.join(CODERS)}")

    def encode(self, array):
        check_vector(array, np.float32)
        if not len(array):
            return b""
        levels, index = np.unique(np.ascontiguousarray(array).view(np.uint32), return_inverse=True)
        coded = CODERS[self.coder].encode(index.astype(np.uint32))
        return bits.put_varint(len(levels)) + levels.astype("<u4").tobytes() + coded

    def decode(self, data, count):
        check_count(count)
        if not data and not count:
            return np.zeros(0, np.float32)
        number, start = bits.take_varint(data)
        stop = start + 4 * number
        if not 1 <= number <= count or stop > len(data):
            raise ValueError(f"{number} levels of {count} values cannot be in {len(data)} bytes")
        levels = np.frombuffer(data[start:stop], "<u4").astype(np.uint32)
        if (levels[1:] <= levels[:-1]).any():
            raise ValueError("levels must increase as integers")
        index = CODERS[self.coder].decode(data[stop:], count)
        if index.max() >= number:
            raise ValueError(f"an index of {index.max()} points outside {number} levels")
        if not np.bincount(index, minlength=number).all():
            raise ValueError("a level that no index points to")
        return levels.view(np.float32)[index]

    @classmethod
    def examples(cls):
        odd = np.array([0x7FC00001, 0x7F800001, 0x80000000, 0, 0x80000000, 0xFFC00000], np.uint32).view(np.float32)
        vectors = [odd, odd[:0], odd[:1], np.full(9, 0.5), np.arange(40) % 5 / 4]
        return [(cls(coder), np.asarray(vector, np.float32)) for coder in CODERS for vector in vectors]
