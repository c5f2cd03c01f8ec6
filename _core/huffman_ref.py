"""Canonical prefix codes: counting symbols, writing their codes, reading them back from one or several streams.

Code lengths l_s belong to a complete code of at least two symbols: sum_s 2^-l_s = 1, checked in integers. Sorted by
(length, symbol), codes increase from all zeros, so a table of 2^L entries (L the longest length) that holds each
symbol 2^(L - l_s) times in that order decodes them. Bit strings start at the most significant bit of their first byte
and end in zeros up to a whole byte.

S streams hold the symbols of S consecutive parts, ceil(count / S) in each but the last ones.

Source: Huffman (1952); RFC 1951, canonical codes.
"""

import operator

import numpy as np

LIMIT = 15
"""Longest code, so that a length fits four bits."""
CHUNK = 1 << 13
"""Symbols encoded or bytes decoded at a time."""


def histogram(symbols: np.ndarray, size: int) -> np.ndarray:
    """How often each symbol below `size` occurs: symbols (n,) uint32 -> (size,) int64.

    Raises
    ------
    ValueError : symbols are no vector of uint32, or one is `size` or above.
    """
    size = check_symbols(symbols, size)
    return np.bincount(symbols, minlength=size)


def encode(symbols: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The codes of symbols (n,) uint32, one after the other: (bytes,) uint8.

    Parameters
    ----------
    lengths : (A,) int64 of a complete code; 0 for absent symbols

    Raises
    ------
    ValueError : the code is not complete, or a symbol has no code.
    """
    words = _code_words(lengths)
    check_symbols(symbols, len(lengths))
    check_coded(bool((lengths[symbols] == 0).any()))
    parts = [np.zeros(0, np.uint8)]
    for first in range(0, len(symbols), CHUNK):
        symbol = symbols[first : first + CHUNK]
        end = np.cumsum(lengths[symbol])
        # bit j of the chunk lies in the code i with end[i-1] <= j < end[i], end[i] - 1 - j places from its right
        place = np.repeat(end, lengths[symbol]) - 1 - np.arange(end[-1])
        word = np.repeat(words[symbol].astype(np.int64), lengths[symbol])
        parts.append((word >> place & 1).astype(np.uint8))
    return np.packbits(np.concatenate(parts))


def decode(payload: np.ndarray, sizes: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
    """Symbols (count,) uint32 of a payload that holds them and nothing else.

    Parameters
    ----------
    payload : (B,) uint8
    sizes : (S,) int64, bytes of each stream; their sum is B
    lengths : (A,) int64 of a complete code

    Raises
    ------
    ValueError : the code is not complete, sizes do not fit, or a stream is not exactly its codes and zeros after them.
    """
    order, spans, longest = _table_order(lengths)
    count = check_streams(payload, sizes, count)
    symbol_at = np.repeat(order, spans).astype(np.uint32)
    length_at = lengths[symbol_at]
    symbols, stop = np.empty(count, np.uint32), np.cumsum(sizes)
    part = -(-count // len(sizes))
    for i in range(len(sizes)):
        stream = payload[stop[i] - sizes[i] : stop[i]]
        _decode_stream(stream, symbol_at, length_at, longest, symbols[i * part : (i + 1) * part])
    return symbols


def _decode_stream(data: np.ndarray, symbol_at: np.ndarray, length_at: np.ndarray, longest: int, symbols: np.ndarray):
    """Fills `symbols`: each bit position is looked up as if a code started there; a walk finds where one does."""
    padded = np.concatenate([data, np.zeros(2, np.uint8)]).astype(np.int32)
    done, position, nbytes = 0, 0, len(data)
    for first in range(0, nbytes, CHUNK):
        last = min(first + CHUNK, nbytes)
        # the `longest` bits from each of the chunk's bit positions: 7 + 15 bits lie within three bytes
        three = padded[first:last] << 16 | padded[first + 1 : last + 1] << 8 | padded[first + 2 : last + 2]
        window = (three[:, None] >> (24 - longest - np.arange(8)) & ((1 << longest) - 1)).reshape(-1)
        starts, position = _walk(length_at[window].tolist(), position, len(symbols) - done)
        symbols[done : done + len(starts)] = symbol_at[window[starts]]
        done += len(starts)
        position -= 8 * (last - first)
    check_end(len(symbols) - done, -position, int(data[-1]) if nbytes else 0)


def _walk(steps: list[int], position: int, most: int) -> tuple[list[int], int]:
    """Positions reached from `position` by steps[position], `most` of them or up to the end; and the next one."""
    starts: list[int] = []
    while position < len(steps) and len(starts) < most:
        starts.append(position)
        position += steps[position]
    return starts, position


def _code_words(lengths: np.ndarray) -> np.ndarray:
    """Codes (A,) uint32 of a complete code's lengths (A,)."""
    order, spans, longest = _table_order(lengths)
    words = np.zeros(len(lengths), np.uint32)
    # where a symbol's entries start in the table, without the bits that are not its own
    words[order] = (np.cumsum(spans) - spans) >> (longest - lengths[order])
    return words


def _table_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Symbols by (length, symbol), how many of the table's 2^L entries each has, and L; checks Kraft."""
    if lengths.ndim != 1 or lengths.dtype != np.int64:
        raise ValueError(f"lengths must be a vector of int64, not {lengths.dtype} {lengths.shape}")
    present = np.flatnonzero(lengths)
    order = present[np.argsort(lengths[present], kind="stable")]
    longest, shortest = int(lengths.max(initial=0)), int(lengths.min(initial=0))
    # sum_s 2^(L - l_s) = 2^L
    valid = shortest >= 0 and longest <= LIMIT and 2 <= len(order) <= 1 << longest
    spans = 1 << (longest - lengths[order]) if valid else order
    if not valid or spans.sum() != 1 << longest:
        raise ValueError(f"code lengths make no complete prefix code of at most {LIMIT} bits")
    return order, spans, longest


def check_symbols(symbols: np.ndarray, size: int) -> int:
    """The size as a Python integer, or ValueError unless all symbols are below it."""
    size = operator.index(size)
    if symbols.ndim != 1 or symbols.dtype != np.uint32:
        raise ValueError(f"symbols must be a vector of uint32, not {symbols.dtype} {symbols.shape}")
    if not 0 <= size <= 2**32 or (len(symbols) and int(symbols.max()) >= size):
        raise ValueError(f"symbols up to {symbols.max(initial=0)} do not lie below {size}")
    return size


def check_coded(without: bool) -> None:
    """ValueError if there are symbols without a code."""
    if without:
        raise ValueError("symbols hold one whose code length is 0")


def check_streams(payload: np.ndarray, sizes: np.ndarray, count: int) -> int:
    """The count as a Python integer, or ValueError unless the sizes part the payload and can hold as many symbols."""
    count = operator.index(count)
    if payload.ndim != 1 or payload.dtype != np.uint8:
        raise ValueError(f"payload must be a vector of uint8, not {payload.dtype} {payload.shape}")
    if sizes.ndim != 1 or sizes.dtype != np.int64 or not len(sizes):
        raise ValueError(f"sizes must be a vector of int64, not {sizes.dtype} {sizes.shape}")
    if any(size < 0 for size in sizes.tolist()) or sum(sizes.tolist()) != len(payload):
        raise ValueError(f"streams of {sizes[:8]} bytes do not add up to {len(payload)} bytes")
    if not 0 <= count <= 8 * len(payload):
        raise ValueError(f"{count} symbols do not fit {len(payload)} bytes")
    return count


def check_end(missing: int, spare: int, last: int) -> None:
    """ValueError unless a stream gave all its symbols and its last byte ends in `spare` < 8 zeros."""
    if missing or not 0 <= spare < 8 or last & ((1 << spare) - 1):
        raise ValueError(f"a stream lacks {missing} symbols and has {spare} bits left: want 0, and 0 to 7 zeros")


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    codes = [[1, 1], [4, 4, 3, 3, 3, 1], [0, 2, 1, 0, 2], [*range(1, 16), 15], [8] * 256, [0] * 70_000 + [2] * 4]
    codes += [[1, 2], [1, 1, 1], [1], [], [0, 0], [16, 1], [-1, 1], [2**62, 1]]
    for lengths in map(np.array, [code or np.zeros(0, np.int64) for code in codes]):
        present = np.flatnonzero(lengths).astype(np.uint32)
        for count in (0, 1, 5, 40, 5000):
            odds = 0.5 ** np.clip(lengths[present], 0, 15)
            symbols = np.zeros(count, np.uint32)
            if len(present):
                symbols = generator.choice(present, count, p=odds / odds.sum())
            yield "histogram", (symbols, len(lengths))
            yield "encode", (symbols, lengths)
            for streams in (1, 8, 3):
                part = -(-count // streams)
                parts = [symbols[i * part : (i + 1) * part] for i in range(streams)]
                try:
                    parts = [encode(part, lengths) for part in parts]
                except ValueError:
                    parts = [generator.integers(0, 256, count, np.uint8)] * streams
                sizes, payload = np.array([len(part) for part in parts]), np.concatenate(parts)
                yield "decode", (payload, sizes, lengths, count)
                yield "decode", (payload, sizes, lengths, count + 1)
                yield "decode", (payload, sizes[::-1].copy(), lengths, count)
                yield "decode", (generator.integers(0, 256, len(payload), np.uint8), sizes, lengths, count)
