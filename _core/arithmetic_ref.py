"""Adaptive binary arithmetic coding: symbols, and the places of a mask's entries.

Every bit is coded in a context that has seen n0 zeros and n1 ones so far, with the probability

    P(1) = (n1 + 1/2) / (n0 + n1 + 1)                                                            (1)

of Krichevsky and Trofimov, so that no table is stored and n bits of one context cost at most
n H(n1 / n) + log2(n) / 2 + 1 bits, H the binary entropy.

    symbols    the bits of a symbol, the highest first; the context is what is known of the symbol and, in order 1,
               the symbol before it (0 before the first)
    places     a bit an entry, 1 where it is kept; the context is the pair of bit lengths of z, the number of entries
               since the last kept one, and c, the number of kept ones so far in this column

`coder.py` turns bits and their counts into bytes. The data of a vector are unique, and others refused.

Source: Krichevsky and Trofimov (1981), eq. 1; Rissanen and Langdon (1979), arithmetic coding.
"""

import operator
from collections import defaultdict

import numpy as np

from minisparse._core.coder import Decoder, Encoder

WIDEST = 16
"""Bits of a symbol, at most."""
CLASSES = 32
"""Bit lengths, 0 to 31."""
LIMIT = 2**31
"""Entries, below which counts fit 32 bits and eq. 1 the range."""


def encode(symbols: np.ndarray, width: int, order: int) -> np.ndarray:
    """The data of symbols (n,) uint32 below 2^width: (bytes,) uint8.

    Parameters
    ----------
    width : 1 to 16; 1 to 8 in order 1
    order : 0 or 1, how many symbols before it are part of a bit's context

    Raises
    ------
    ValueError : a symbol of more bits, or an argument out of range.
    """
    width, order = check_symbols(symbols, width, order)
    coder, counts, before = Encoder(), _counts(), 0
    for symbol in symbols.tolist():
        # the context of a bit: the symbol before, a one, the bits before it
        for shift in reversed(range(width)):
            coder.put(symbol >> shift & 1, counts[before << width | (1 << width | symbol) >> (shift + 1)])
        before = symbol * order
    return coder.finish()


def decode(data: np.ndarray, width: int, order: int, count: int) -> np.ndarray:
    """Symbols (count,) uint32 of data (bytes,) uint8.

    Raises
    ------
    ValueError : the data are not those of `count` symbols, or an argument is out of range.
    """
    width, order, count = check_data(data, width, order, count)
    coder, counts, before = Decoder(data), _counts(), 0
    symbols = np.empty(count, np.uint32)
    for i in range(count):
        node = 1
        for _ in range(width):
            node = node << 1 | coder.take(counts[before << width | node])
        symbols[i] = node - (1 << width)
        before = int(symbols[i]) * order
    coder.finish()
    return symbols


def encode_places(places: np.ndarray, columns: int, count: int) -> np.ndarray:
    """The data of a mask of `count` entries in rows of `columns`, kept at places (K,) int64: (bytes,) uint8.

    Raises
    ------
    ValueError : places do not increase within [0, count), or columns lie outside [1, max(count, 1)].
    """
    columns, count = check_places(places, columns, count)
    coder, counts, mask, kept = Encoder(), _counts(), np.zeros(count, bool), [0] * columns
    mask[places] = True
    z = 0
    for i, bit in enumerate(mask.tolist()):
        coder.put(bit, counts[CLASSES * z.bit_length() + kept[i % columns].bit_length()])
        kept[i % columns] += bit
        z = 0 if bit else z + 1
    return coder.finish()


def decode_places(data: np.ndarray, kept: int, columns: int, count: int) -> np.ndarray:
    """Places (kept,) int64 of data (bytes,) uint8.

    Raises
    ------
    ValueError : the data are not those of a mask with so many entries and kept ones.
    """
    kept, columns, count = check_mask(data, kept, columns, count)
    coder, counts, above = Decoder(data), _counts(), [0] * columns
    places, z = [], 0
    for i in range(count):
        bit = coder.take(counts[CLASSES * z.bit_length() + above[i % columns].bit_length()])
        if bit:
            check_kept(len(places) < kept, kept)
            places.append(i)
        above[i % columns] += bit
        z = 0 if bit else z + 1
    check_kept(len(places) == kept, kept)
    coder.finish()
    return np.array(places, np.int64)


def _counts() -> defaultdict[int, list[int]]:
    """[n0, n1] of each context."""
    return defaultdict(lambda: [0, 0])


def check_symbols(symbols: np.ndarray, width: int, order: int) -> tuple[int, int]:
    """Width and order as Python integers; ValueError unless the symbols have at most so many bits."""
    width, order = _check_model(width, order)
    if symbols.ndim != 1 or symbols.dtype != np.uint32:
        raise ValueError(f"symbols must be a vector of uint32, not {symbols.dtype} {symbols.shape}")
    _check_range("the number of symbols", len(symbols), 0, LIMIT - 1)
    if int(symbols.max(initial=0)) >> width:
        raise ValueError(f"symbols hold {symbols.max()}, which takes more than width={width} bits")
    return width, order


def check_data(data: np.ndarray, width: int, order: int, count: int) -> tuple[int, int, int]:
    """Width, order and count as Python integers, or ValueError."""
    if data.ndim != 1 or data.dtype != np.uint8:
        raise ValueError(f"data must be a vector of uint8, not {data.dtype} {data.shape}")
    return *_check_model(width, order), _check_range("count", count, 0, LIMIT - 1)


def check_places(places: np.ndarray, columns: int, count: int) -> tuple[int, int]:
    """Columns and count as Python integers; ValueError unless the places are those of such a mask's entries."""
    count = _check_range("count", count, 0, LIMIT - 1)
    if places.ndim != 1 or places.dtype != np.int64:
        raise ValueError(f"places must be a vector of int64, not {places.dtype} {places.shape}")
    if len(places) and (places[0] < 0 or places[-1] >= count or (places[1:] <= places[:-1]).any()):
        raise ValueError(f"places must increase within [0, {count})")
    return _check_range("columns", columns, 1, max(count, 1)), count


def check_mask(data: np.ndarray, kept: int, columns: int, count: int) -> tuple[int, int, int]:
    """Kept, columns and count as Python integers, or ValueError."""
    *_, count = check_data(data, 1, 0, count)
    return _check_range("kept", kept, 0, count), _check_range("columns", columns, 1, max(count, 1)), count


def check_kept(fits: bool, kept: int) -> None:
    """ValueError unless the mask keeps as many entries as were announced."""
    if not fits:
        raise ValueError(f"the mask does not keep the {kept} entries that were announced")


def _check_model(width: int, order: int) -> tuple[int, int]:
    order = _check_range("order", order, 0, 1)
    return _check_range("width", width, 1, WIDEST // (1 + order)), order


def _check_range(name: str, value: int, low: int, high: int) -> int:
    value = operator.index(value)
    if not low <= value <= high:
        raise ValueError(f"{name}={value} must lie in [{low}, {high}]")
    return value


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for width, order in ((1, 0), (4, 0), (16, 0), (1, 1), (8, 1)):
        for count in (0, 1, 300):
            for symbols in (
                generator.integers(0, 2**width, count, np.uint32),
                (generator.integers(0, 2**width, count) * (generator.random(count) < 0.02)).astype(np.uint32),
                np.full(count, 2**width - 1, np.uint32),
            ):
                data = encode(symbols, width, order)
                yield "encode", (symbols, width, order)
                yield "decode", (data, width, order, count)
                yield "decode", (data, width, order, count + 9)
                yield "decode", (data[:-1], width, order, count)
        yield "encode", (np.array([2**width], np.uint32), width, order)
        yield "encode", (symbols, width, 2 * order)
        yield "decode", (generator.integers(0, 256, 40, np.uint8), width, order, 160 // width)
        yield "decode", (np.full(9, 255, np.uint8), width, order, 9)
    for columns, count, density in ((1, 0, 0), (1, 1, 1), (7, 91, 0.5), (40, 40, 0.2), (50, 2000, 0.02)):
        places = np.flatnonzero(generator.random(count) < density)
        data = encode_places(places, columns, count)
        yield "encode_places", (places, columns, count)
        yield "encode_places", (places, count + 2, count)
        yield "encode_places", (places[::-1].copy(), columns, count)
        for kept in (len(places), len(places) + 1, len(places) - 1):
            yield "decode_places", (data, kept, columns, count)
        yield "decode_places", (generator.integers(0, 256, 9, np.uint8), 5, columns, count)
