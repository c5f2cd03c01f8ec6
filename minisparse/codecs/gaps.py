"""Places of the kept entries as relative indices of B bits.

Walk the mask; z is the number of entries passed before a kept one. While z >= 2^B, a filler passes 2^B entries
and z -= 2^B; then comes the gap z. Entries after the last kept one follow from the mask's length.

Source: Han, Mao and Dally (2016), arXiv 1510.00149, section 2.
**Differs from the paper:** there a filler is the gap 2^B - 1 with a weight of zero, so that it costs an entry in both
streams; here it is a symbol of its own, 2^B, and the weights have no part in it. Its number is the same.
"""

from dataclasses import dataclass

import numpy as np

from minisparse.codecs import bits
from minisparse.codecs.base import Codec, check_count, check_integer, check_vector
from minisparse.codecs.huffman import Huffman

WIDEST = 16


@dataclass(frozen=True)
class Gaps(Codec):
    """A mask, a vector of bool: the number of symbols (varint), then the symbols as `Huffman` codes them.

    Parameters
    ----------
    width : B, 1 to 16; `choose_width` finds the best
    """

    name = "gaps"
    width: int

    def __post_init__(self):
        check_integer("width", self.width, 1, WIDEST)

    def encode(self, array):
        check_vector(array, bool)
        symbols = to_symbols(np.flatnonzero(array), self.width)
        return bits.put_varint(len(symbols)) + Huffman().encode(symbols)

    def decode(self, data, count):
        check_count(count)
        number, start = bits.take_varint(data)
        # every symbol passes at least one entry
        if number > count:
            raise ValueError(f"{number} gaps are too many for a mask of {count} entries")
        mask = np.zeros(count, bool)
        mask[from_symbols(Huffman().decode(data[start:], number), self.width, count)] = True
        return mask

    @classmethod
    def examples(cls):
        masks = [[], [0], [1], [0] * 5, [1] * 5, [0] * 16 + [1], [1] + [0] * 40 + [1, 1, 0]]
        masks.append([0, 0, 1, 1] + [0] * 18 + [1])
        return [(cls(width), np.array(mask, bool)) for width in (1, 4, 16) for mask in masks]


def to_symbols(places: np.ndarray, width: int) -> np.ndarray:
    """Gaps and fillers (K + fillers,) uint32 of increasing places (K,) int64."""
    z = np.diff(places, prepend=-1) - 1
    fillers = z >> width
    symbols = np.full(len(z) + int(fillers.sum()), 1 << width, np.uint32)
    symbols[np.cumsum(fillers + 1) - 1] = z & ((1 << width) - 1)
    return symbols


def from_symbols(symbols: np.ndarray, width: int, count: int) -> np.ndarray:
    """Places (K,) int64 < count; ValueError if the symbols say otherwise, or end in a filler."""
    filler = 1 << width
    if symbols.max(initial=0) > filler or (symbols[-1:] == filler).any():
        raise ValueError(f"gaps of {width} bits must be at most {filler} and not end in a filler")
    # a gap z passes z entries and the kept one, a filler 2^B entries
    places = np.cumsum(symbols.astype(np.int64) + (symbols != filler)) - 1
    if len(places) and places[-1] >= count:
        raise ValueError(f"gaps lead to entry {places[-1]} of a mask with {count}")
    return places[symbols != filler]


def choose_width(mask: np.ndarray) -> int:
    """B with the fewest bytes for this mask (n,) bool, the smallest of equals."""
    places = np.flatnonzero(mask)
    widest = int(np.diff(places, prepend=-1).max(initial=1) - 1).bit_length()

    def nbytes(width: int) -> int:
        symbols = to_symbols(places, width)
        return len(bits.put_varint(len(symbols))) + Huffman().nbytes(symbols)

    return min(range(1, min(max(widest, 1), WIDEST) + 1), key=nbytes)
