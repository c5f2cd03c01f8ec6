"""Places of the kept entries as relative indices of B bits.

Walk the mask; z is the number of entries passed before a kept one. While z >= 2^B, a filler passes 2^B entries
and z -= 2^B; then comes the gap z. Entries after the last kept one follow from the mask's length.

Source: Han, Mao and Dally (2016), arXiv 1510.00149, section 2.
**Differs from the paper:** there a filler is the gap 2^B - 1 with a weight of zero, so that it costs an entry in both
streams; here it is a symbol of its own, 2^B, and the weights have no part in it. Its number is the same.
"""

from dataclasses import dataclass

import numpy as np

from minisparse._core import gaps as kernel
from minisparse.codecs import bits
from minisparse.codecs.base import MaskCodec, check_count, check_integer, check_vector
from minisparse.codecs.huffman import Huffman

WIDEST = 16


@dataclass(frozen=True)
class Gaps(MaskCodec):
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
        symbols = kernel.to_symbols(np.flatnonzero(array), self.width)
        return bits.put_varint(len(symbols)) + Huffman().encode(symbols)

    def places(self, data, count):
        check_count(count)
        number, start = bits.take_varint(data)
        # every symbol passes at least one entry
        if number > count:
            raise ValueError(f"{number} gaps are too many for a mask of {count} entries")
        return kernel.from_symbols(Huffman().decode(data[start:], number), self.width, count)

    @classmethod
    def examples(cls):
        masks = [[], [0], [1], [0] * 5, [1] * 5, [0] * 16 + [1], [1] + [0] * 40 + [1, 1, 0]]
        masks.append([0, 0, 1, 1] + [0] * 18 + [1])
        return [(cls(width), np.array(mask, bool)) for width in (1, 4, 16) for mask in masks]


def choose_width(mask: np.ndarray) -> int:
    """B with the fewest bytes for this mask (n,) bool, the smallest of equals; streams' sizes are not counted."""
    gaps = np.bincount(np.diff(np.flatnonzero(mask), prepend=-1) - 1, minlength=1)
    widest = (len(gaps) - 1).bit_length()

    def nbytes(width: int) -> int:
        # counts of the symbols z mod 2^B, and of the fillers
        counts = np.zeros(-(-len(gaps) >> width << width), np.int64)
        counts[: len(gaps)] = gaps
        fillers = int(gaps @ (np.arange(len(gaps)) >> width))
        counts = np.append(counts.reshape(-1, 1 << width).sum(axis=0), fillers)
        return len(bits.put_varint(int(counts.sum()))) + Huffman.nbytes_of(counts)

    return min(range(1, min(max(widest, 1), WIDEST) + 1), key=nbytes)
