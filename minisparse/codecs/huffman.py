"""Huffman coding of symbols, or whichever of two simpler codings is shorter.

    mode (1 byte) | parameter (varint) | table | payload

    mode 0  words of one width        parameter: the width, 1 to 32
    mode 1  one symbol throughout     parameter: the symbol
    mode 2  Huffman                   parameter: A, the last symbol that occurs plus 1; table: A code lengths of
                                      four bits, 0 for absent symbols; payload: canonical codes
    mode 3  Huffman, eight streams    as mode 2, but the payload starts with the bytes of the first seven streams
                                      (varints); each stream holds ceil(n / 8) symbols, but the last ones

Eight streams are read side by side, twice as fast as one; for long vectors their sizes weigh nothing.

The empty vector has no bytes at all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minisparse._core import huffman as kernel
from minisparse.codecs import bits, canonical
from minisparse.codecs.base import Codec, check_count, check_vector

FIXED, ONE, HUFFMAN, STREAMS = range(4)
MANY = 1 << 16
"""Symbols from which eight streams are written."""
FAST = 12
"""Longest code in eight streams: one look-up of the decoder, at most 1/500 more bits for 8-bit weights."""


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
        return len(self.encode(symbols))

    @staticmethod
    def nbytes_of(counts: np.ndarray) -> int:
        """Bytes of a vector in which symbol s occurs counts[s] times, but for the sizes of eight streams."""
        return _plan(counts)[0].nbytes if counts.any() else 0

    def encode(self, array):
        check_vector(array, np.uint32)
        if not len(array):
            return b""
        plan, lengths = _plan_of(array)
        head = bytes([plan.mode]) + bits.put_varint(plan.parameter)
        if plan.mode == FIXED:
            return head + bits.pack_fixed(array, plan.parameter)
        if plan.mode == ONE:
            return head
        head += bits.pack_fixed(lengths.astype(np.uint32), 4)
        if plan.mode == HUFFMAN:
            return head + kernel.encode(array, lengths).tobytes()
        part = -(-len(array) // 8)
        streams = [kernel.encode(array[i * part : (i + 1) * part], lengths).tobytes() for i in range(8)]
        return b"".join([head, *(bits.put_varint(len(stream)) for stream in streams[:-1]), *streams])

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
        if mode not in (HUFFMAN, STREAMS):
            raise ValueError(f"symbols start with mode {mode}, parameter {parameter}, which announce no valid coding")
        table = start + (parameter + 1) // 2
        lengths = bits.unpack_fixed(data[start:table], 4, parameter).astype(np.int64)
        if not lengths[-1:].any():
            raise ValueError("the last symbol of a Huffman table must occur")
        sizes, start = [], table
        if mode == STREAMS:
            for _ in range(7):
                size, start = bits.take_varint(data, start)
                sizes.append(size)
        sizes.append(len(data) - start - sum(sizes))
        if sizes[-1] < 0:
            raise ValueError(f"streams of {sizes[:-1]} bytes are longer than the {len(data) - start} that follow")
        return kernel.decode(np.frombuffer(data, np.uint8)[start:], np.array(sizes, np.int64), lengths, count)

    @classmethod
    def examples(cls):
        skewed = np.repeat(np.arange(6, dtype=np.uint32), [45, 5, 9, 12, 13, 16])
        vectors = [[], [7], [0, 0, 0], [0, 1], [2**32 - 1, 5], np.arange(300), np.tile(skewed, 3)[::-1]]
        vectors.append(np.tile(skewed, MANY // 100 + 1))
        return [(cls(), np.array(vector, np.uint32)) for vector in vectors]


def _fixed(count: int, last: int) -> Plan:
    """Words of one width for `count` symbols up to `last`."""
    width = max(last.bit_length(), 1)
    return Plan(2 + (count * width + 7) // 8, FIXED, width)


def _plan(counts: np.ndarray) -> tuple[Plan, np.ndarray]:
    """The shortest coding of symbols that occur counts (A,) times, and the code lengths, if any."""
    present = np.flatnonzero(counts)
    last, count, kinds = int(present[-1]), int(counts.sum()), len(present)
    lengths = np.zeros(0, np.int64)
    if kinds == 1:
        return Plan(1 + len(bits.put_varint(last)), ONE, last), lengths
    plans = [_fixed(count, last)]
    table = (last + 2) // 2
    if table < plans[0].nbytes and kinds <= 2**canonical.LIMIT:
        many = count >= MANY and kinds <= 2 ** (FAST - 1)
        lengths = canonical.code_lengths(counts[: last + 1], FAST if many else canonical.LIMIT)
        # sum_s f_s l_s bits
        payload = (int(counts[: last + 1] @ lengths) + 7) // 8
        mode = STREAMS if many else HUFFMAN
        plans.append(Plan(1 + len(bits.put_varint(last + 1)) + table + payload, mode, last + 1))
    return min(plans), lengths


def _plan_of(array: np.ndarray) -> tuple[Plan, np.ndarray]:
    """The same of a vector that is not empty; symbols are counted only where a table up to the last may pay."""
    first, last = int(array.min()), int(array.max())
    fixed = _fixed(len(array), last)
    if first < last and (last + 2) // 2 < fixed.nbytes:
        return _plan(kernel.histogram(array, last + 1))
    one = Plan(1 + len(bits.put_varint(last)), ONE, last)
    return (one if first == last else fixed), np.zeros(0, np.int64)
