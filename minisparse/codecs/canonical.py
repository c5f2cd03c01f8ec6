"""Canonical prefix codes of limited length: lengths from counts, codes from lengths, decoding.

Kraft: lengths belong to a complete code if and only if sum_s 2^-l_s = 1, which is checked in integers.
A canonical code is fixed by its lengths: sorted by (length, symbol), its codes increase, so a table of
2^L entries (L the longest length) that holds each symbol 2^(L - l) times in that order decodes it.

Source: Huffman (1952); Larmore and Hirschberg (1990), package-merge; RFC 1951, canonical codes.
"""

import numpy as np

from minisparse.codecs import bits

LIMIT = 15
"""Longest code, so that a length fits four bits."""
CHUNK = 1 << 13
"""Bytes decoded at a time."""


def code_lengths(counts: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Lengths of an optimal prefix code with no code above `limit` bits, by package-merge.

    Parameters
    ----------
    counts : (A,) int64 >= 0, at least two of them positive

    Returns
    -------
    (A,) int64; 0 for absent symbols; ties are settled by symbol, so counts alone decide

    Raises
    ------
    ValueError : fewer than two symbols occur, or more than 2^limit.
    """
    present = np.flatnonzero(counts)
    n = len(present)
    if not 2 <= n <= 2**limit:
        raise ValueError(f"counts holds {n} symbols that occur: a code of {limit} bits needs 2 to {2**limit}")
    order = present[np.argsort(counts[present], kind="stable")]
    leaves = counts[order].astype(np.int64)
    packages, levels = leaves[:0], []
    for _ in range(min(limit, n - 1)):
        merged = np.concatenate([leaves, packages])
        rank = np.argsort(merged, kind="stable")
        merged = merged[rank]
        levels.append(rank < n)
        # consecutive pairs; an odd last item is dropped
        packages = merged[: len(merged) // 2 * 2].reshape(-1, 2).sum(axis=1)
    lengths, taken = np.zeros(len(counts), np.int64), 2 * n - 2
    for is_leaf in reversed(levels):
        # l_s = the number of taken items that hold s; a taken package is two items of the level below
        number = np.count_nonzero(is_leaf[:taken])
        lengths[order[:number]] += 1
        taken = 2 * (taken - number)
    return lengths


def code_words(lengths: np.ndarray) -> np.ndarray:
    """Codes (A,) uint32 of a complete code's lengths (A,)."""
    order, spans, longest = _table_order(lengths)
    words = np.zeros(len(lengths), np.uint32)
    # where a symbol's entries start in the table, without the bits that are not its own
    words[order] = (np.cumsum(spans) - spans) >> (longest - lengths[order])
    return words


def encode(symbols: np.ndarray, lengths: np.ndarray) -> bytes:
    """The codes of symbols (n,) < A, one after the other."""
    return bits.pack(code_words(lengths)[symbols], lengths[symbols])


def decode(payload: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    """Symbols (count,) uint32 of a payload that holds them and nothing else.

    Every bit position is looked up as if a code started there, at once; then a walk finds those where one does.

    Raises
    ------
    ValueError : the code is not complete, or the payload is not exactly `count` codes and padding.
    """
    order, spans, longest = _table_order(lengths)
    if count > 8 * len(payload):
        raise ValueError(f"{count} symbols do not fit {len(payload)} bytes")
    symbol_at = np.repeat(order, spans).astype(np.uint32)
    length_at = lengths[symbol_at]
    padded = np.frombuffer(payload + bytes(2), np.uint8).astype(np.int32)
    symbols, done, position = np.empty(count, np.uint32), 0, 0
    for first in range(0, len(payload), CHUNK):
        last = min(first + CHUNK, len(payload))
        # the `longest` bits from each of the chunk's bit positions: 7 + 15 bits lie within three bytes
        three = padded[first:last] << 16 | padded[first + 1 : last + 1] << 8 | padded[first + 2 : last + 2]
        window = (three[:, None] >> (24 - longest - np.arange(8)) & ((1 << longest) - 1)).reshape(-1)
        starts, position = _walk(length_at[window].tolist(), position, count - done)
        symbols[done : done + len(starts)] = symbol_at[window[starts]]
        done += len(starts)
        position -= 8 * (last - first)
    if done < count:
        raise ValueError(f"the payload ends after {done} of {count} symbols")
    bits.check_padding(payload, position + 8 * len(payload))
    return symbols


def _walk(steps: list[int], position: int, most: int) -> tuple[list[int], int]:
    """Positions reached from `position` by steps[position], `most` of them or up to the end; and the next one."""
    starts: list[int] = []
    while position < len(steps) and len(starts) < most:
        starts.append(position)
        position += steps[position]
    return starts, position


def _table_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Symbols by (length, symbol), how many of the table's 2^L entries each has, and L; checks Kraft."""
    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    longest = int(lengths.max(initial=0))
    spans = 1 << (longest - lengths[order])
    # sum_s 2^(L - l_s) = 2^L
    if longest > LIMIT or len(order) < 2 or spans.sum() != 1 << longest:
        raise ValueError(f"code lengths make no complete prefix code of at most {LIMIT} bits")
    return order, spans, longest
