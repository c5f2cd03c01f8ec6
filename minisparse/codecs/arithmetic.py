"""Adaptive arithmetic coding, which knows no least of one bit a symbol: of symbols, and of masks.

`_core/arithmetic_ref.py` has the model and the coder. No table is stored: the counts are learnt on the way, so a
short vector pays for what a reader cannot know yet.
"""

from dataclasses import dataclass

import numpy as np

from minisparse._core import arithmetic as kernel
from minisparse.codecs import bits
from minisparse.codecs.base import Codec, MaskCodec, check_count, check_integer, check_vector

WIDEST = 16
"""Bits of a symbol, at most."""


@dataclass(frozen=True)
class Arithmetic(Codec):
    """A vector of uint32 symbols: the bits of the largest one (1 byte), then the coded symbols.

    The empty vector has no bytes at all.

    Parameters
    ----------
    order : 0 for symbols on their own, below 2^16; 1 where one says something of the next, below 2^8
    """

    name = "arithmetic"
    order: int = 0

    def __post_init__(self):
        check_integer("order", self.order, 0, 1)

    @property
    def widest(self) -> int:
        """Bits of a symbol, at most."""
        return WIDEST // (1 + self.order)

    def encode(self, array):
        check_vector(array, np.uint32)
        if not len(array):
            return b""
        width = max(int(array.max()).bit_length(), 1)
        if width > self.widest:
            raise ValueError(f"array holds {array.max()}, which takes more than {self.widest} bits")
        return bytes([width]) + kernel.encode(array, width, self.order).tobytes()

    def decode(self, data, count):
        check_count(count)
        if not count or not data:
            if count or data:
                raise ValueError(f"{count} symbols cannot be in {len(data)} bytes")
            return np.zeros(0, np.uint32)
        width = data[0]
        symbols = kernel.decode(np.frombuffer(data, np.uint8)[1:], width, self.order, count)
        if width > 1 and not int(symbols.max()) >> (width - 1):
            raise ValueError(f"symbols up to {symbols.max()} take fewer than {width} bits each")
        return symbols

    @classmethod
    def examples(cls):
        skewed = np.repeat(np.arange(6, dtype=np.uint32), [145, 5, 9, 12, 13, 16])
        vectors = [[], [0], [7], [0] * 50, [0, 1], [255, 5], np.arange(256), skewed, skewed[::-1]]
        pairs = [(cls(order), np.array(vector, np.uint32)) for order in (0, 1) for vector in vectors]
        return [*pairs, (cls(), np.array([65_535, 5, 0], np.uint32))]


@dataclass(frozen=True)
class Adaptive(MaskCodec):
    """A mask: the number of kept entries (varint), then its bits under a model of gaps and columns.

    Parameters
    ----------
    columns : entries a row; a column whose entries were kept in the rows before is likely to keep more
    """

    name = "adaptive"
    columns: int

    def __post_init__(self):
        check_integer("columns", self.columns, 1, 2**31)

    def encode(self, array):
        check_vector(array, bool)
        places = np.flatnonzero(array)
        columns = min(self.columns, max(len(array), 1))
        return bits.put_varint(len(places)) + kernel.encode_places(places, columns, len(array)).tobytes()

    def places(self, data, count):
        check_count(count)
        kept, start = bits.take_varint(data)
        columns = min(self.columns, max(count, 1))
        return kernel.decode_places(np.frombuffer(data, np.uint8)[start:], kept, columns, count)

    @classmethod
    def examples(cls):
        masks = [[], [0], [1], [0] * 50, [1] * 50, [0] * 16 + [1], [1] + [0] * 40 + [1, 1, 0], [1, 0, 0, 0, 1] * 9]
        return [(cls(columns), np.array(mask, bool)) for columns in (1, 5, 60) for mask in masks]
