"""Huffman coding of symbols, or whichever of two simpler codings is shorter.

    mode (1 byte) | parameter (varint) | table | payload

    mode 0  words of one width        parameter: the width, 1 to 32
    mode 1  one symbol throughout     parameter: the symbol
    mode 2  Huffman                   parameter: A, the last symbol that occurs plus 1; table: A code lengths of
                                      four bits, 0 for absent symbols; payload: canonical codes

The empty vector has no bytes at all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minisparse.codecs import bits, canonical
from minisparse.codecs.base import Codec, check_count, check_vector

FIXED, ONE, HUFFMAN = range(3)


class Plan(NamedTuple):
    """A way of coding a vector; the first in this order is the one to take."""

    nbytes: int
    mode: int
    parameter: int


@dataclass(frozen=True)
class Huffman(Codec):
    """A vector of uint32 symbols, best small ones: the table has an entry for each symbol up to the largest."""

    name = "huffman"

    def nbytes(self, symbols: np.ndarray) -> int:
        """Exact number of bytes that `encode` would return."""
        return _plan(symbols)[0].nbytes if len(symbols) else 0

    def encode(self, array):
        check_vector(array, np.uint32)
        if not len(array):
            return b""
        plan, lengths = _plan(array)
        head = bytes([plan.mode]) + bits.put_varint(plan.parameter)
        if plan.mode == FIXED:
            return head + bits.pack_fixed(array, plan.parameter)
        if plan.mode == ONE:
            return head
        return head + bits.pack_fixed(lengths, 4) + canonical.encode(array, lengths)

    def decode(self, data, count):
        check_count(count)
        if not count or not data:
            if count or data:
                raise ValueError(f"{count} symbols cannot be in {len(data)} bytes")
            return np.zeros(0, np.uint32)
        mode = data[0]
        parameter, start = bits.take_varint(data, 1)
        if mode == FIXED and 1 <= parameter <= 32:
            return bits.unpack_fixed(data[start:], parameter, count)
        if mode == ONE and parameter < 2**32 and start == len(data):
            return np.full(count, parameter, np.uint32)
        if mode != HUFFMAN:
            raise ValueError(f"symbols start with mode {mode}, parameter {parameter}, which announce no valid coding")
        payload = start + (parameter + 1) // 2
        lengths = bits.unpack_fixed(data[start:payload], 4, parameter).astype(np.int64)
        if not lengths[-1:].any():
            raise ValueError("the last symbol of a Huffman table must occur")
        return canonical.decode(data[payload:], lengths, count)

    @classmethod
    def examples(cls):
        skewed = np.repeat(np.arange(6, dtype=np.uint32), [45, 5, 9, 12, 13, 16])
        vectors = [[], [7], [0, 0, 0], [0, 1], [2**32 - 1, 5], np.arange(300), np.tile(skewed, 3)[::-1]]
        return [(cls(), np.array(vector, np.uint32)) for vector in vectors]


def _plan(symbols: np.ndarray) -> tuple[Plan, np.ndarray]:
    """The shortest coding of a vector that is not empty, and the code lengths (A,), if any."""
    kinds, counts = np.unique(symbols, return_counts=True)
    last = int(kinds[-1])
    lengths = np.zeros(0, np.int64)
    if len(kinds) == 1:
        return Plan(1 + len(bits.put_varint(last)), ONE, last), lengths
    width = last.bit_length()
    plans = [Plan(2 + (len(symbols) * width + 7) // 8, FIXED, width)]
    table = (last + 2) // 2
    if table < plans[0].nbytes and len(kinds) <= 2**canonical.LIMIT:
        frequency = np.zeros(last + 1, np.int64)
        frequency[kinds] = counts
        lengths = canonical.code_lengths(frequency)
        # sum_s f_s l_s bits
        payload = (int(frequency @ lengths) + 7) // 8
        plans.append(Plan(1 + len(bits.put_varint(last + 1)) + table + payload, HUFFMAN, last + 1))
    return min(plans), lengths
