"""Places of kept entries as relative indices of B bits.

z is the number of entries passed before a kept one. While z >= 2^B a filler, the symbol 2^B, passes 2^B entries and
z -= 2^B; then comes the symbol z.

Source: Han, Mao and Dally (2016), arXiv 1510.00149, section 2.
"""

import operator

import numpy as np


def to_symbols(places: np.ndarray, width: int) -> np.ndarray:
    """Gaps and fillers (K + fillers,) uint32 of increasing places (K,) int64 >= 0.

    Parameters
    ----------
    width : B, 1 to 16

    Raises
    ------
    ValueError : places do not increase from 0 or above, or width is out of range.
    """
    width = check_places(places, width)
    z = np.diff(places, prepend=-1) - 1
    fillers = z >> width
    symbols = np.full(len(z) + int(fillers.sum()), 1 << width, np.uint32)
    symbols[np.cumsum(fillers + 1) - 1] = z & ((1 << width) - 1)
    return symbols


def from_symbols(symbols: np.ndarray, width: int, count: int) -> np.ndarray:
    """Places (K,) int64 < count of gaps and fillers (n,) uint32.

    Raises
    ------
    ValueError : a symbol above 2^B, a filler at the end, or a place at `count` or beyond.
    """
    width, count = check_symbols(symbols, width, count)
    filler = 1 << width
    # a gap z passes z entries and the kept one, a filler 2^B entries
    places = np.cumsum(symbols.astype(np.int64) + (symbols != filler)) - 1
    check_last(int(places[-1]) if len(places) else -1, count)
    return places[symbols != filler]


def check_places(places: np.ndarray, width: int) -> int:
    """The width as a Python integer; ValueError unless the places are those of a mask's entries."""
    width = _check_width(width)
    if places.ndim != 1 or places.dtype != np.int64:
        raise ValueError(f"places must be a vector of int64, not {places.dtype} {places.shape}")
    if len(places) and (places[0] < 0 or (places[1:] <= places[:-1]).any()):
        raise ValueError("places must increase from 0 or above")
    return width


def check_symbols(symbols: np.ndarray, width: int, count: int) -> tuple[int, int]:
    """Width and count as Python integers; ValueError unless the symbols are gaps of this width."""
    width, count = _check_width(width), operator.index(count)
    if symbols.ndim != 1 or symbols.dtype != np.uint32:
        raise ValueError(f"symbols must be a vector of uint32, not {symbols.dtype} {symbols.shape}")
    filler = 1 << width
    if symbols.max(initial=0) > filler or (symbols[-1:] == filler).any():
        raise ValueError(f"gaps of {width} bits must be at most {filler} and not end in a filler")
    return width, count


def check_last(place: int, count: int) -> None:
    """ValueError unless the last place belongs to a mask of `count` entries."""
    if place >= count:
        raise ValueError(f"gaps lead to entry {place} of a mask with {count}")


def _check_width(width: int) -> int:
    width = operator.index(width)
    if not 1 <= width <= 16:
        raise ValueError(f"width={width} must lie in [1, 16]")
    return width


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for width in (1, 2, 5, 16):
        for places in (
            np.flatnonzero(generator.random(3000) < 0.05),
            np.arange(9),
            np.zeros(0, np.int64),
            np.array([2**width - 1, 2 ** (width + 1), 2 ** (width + 1) + 2**width + 1]),
            np.array([200_000]),
            np.array([3, 3]),
            np.array([-1, 4]),
        ):
            yield "to_symbols", (places, width)
        for size in (0, 1, 2, 50):
            symbols = generator.integers(0, 2**width + 1, size, np.uint32)
            yield "from_symbols", (symbols, width, 64 * 2**width)
            yield "from_symbols", (symbols, width, size)
        yield "from_symbols", (np.array([0, 2**width + 1, 0], np.uint32), width, 10**9)
        yield "from_symbols", (np.array([2**32 - 1], np.uint32), width, 10**9)
