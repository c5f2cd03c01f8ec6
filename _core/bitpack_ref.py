"""Words of one width, one after the other, each from its most significant bit; zeros up to a whole byte.

Bit j of word i, counted from its left, is bit `width * i + j` of the string; bit b of the string is bit 7 - b % 8 of
byte b // 8.
"""

import operator

import numpy as np

CHUNK = 1 << 16
"""Words handled at a time; a multiple of eight, so that each chunk fills whole bytes."""


def pack(words: np.ndarray, width: int) -> np.ndarray:
    """(n,) uint32 -> (ceil(n width / 8),) uint8.

    Parameters
    ----------
    width : bits a word, 1 to 32

    Raises
    ------
    ValueError : words are no vector of uint32, or one takes more than `width` bits; or width is out of range.
    """
    width = check_words(words, width)
    parts = [np.zeros(0, np.uint8)]
    for first in range(0, len(words), CHUNK):
        octets = words[first : first + CHUNK].astype(">u4").view(np.uint8).reshape(-1, 4)
        parts.append(np.packbits(np.unpackbits(octets, axis=1)[:, 32 - width :]))
    return np.concatenate(parts)


def unpack(data: np.ndarray, width: int, count: int) -> np.ndarray:
    """(B,) uint8 -> (count,) uint32.

    Raises
    ------
    ValueError : data are not exactly `count` words and zeros up to a whole byte.
    """
    width, count = check_data(data, width, count)
    bits = np.unpackbits(data, count=count * width).reshape(count, width)
    words = np.zeros(count, np.uint32)
    for column in range(width):
        words = words << np.uint32(1) | bits[:, column]
    return words


def check_words(words: np.ndarray, width: int) -> int:
    """The width as a Python integer, or ValueError."""
    width = _check_width(width)
    if words.ndim != 1 or words.dtype != np.uint32:
        raise ValueError(f"words must be a vector of uint32, not {words.dtype} {words.shape}")
    if int(words.max(initial=0)) >> width:
        raise ValueError(f"words hold {words.max()}, which takes more than width={width} bits")
    return width


def check_data(data: np.ndarray, width: int, count: int) -> tuple[int, int]:
    """Width and count as Python integers, or ValueError unless `count` words and their padding fill the data."""
    width, count = _check_width(width), operator.index(count)
    if data.ndim != 1 or data.dtype != np.uint8:
        raise ValueError(f"data must be a vector of uint8, not {data.dtype} {data.shape}")
    spare = 8 * len(data) - count * width
    if count < 0 or not 0 <= spare < 8 or (spare and int(data[-1]) & ((1 << spare) - 1)):
        raise ValueError(f"count={count} words of {width} bits and zeros after them must fill {len(data)} bytes")
    return width, count


def _check_width(width: int) -> int:
    width = operator.index(width)
    if not 1 <= width <= 32:
        raise ValueError(f"width={width} must lie in [1, 32]")
    return width


def cases(generator: np.random.Generator):
    """Calls that the compiled kernel must answer to the bit: (function, arguments)."""
    for width in range(1, 33):
        for count in (0, 1, 7, 8, 9, 100):
            words = generator.integers(0, 2**width, count, np.uint32)
            yield "pack", (words, width)
            yield "unpack", (pack(words, width), width, count)
        yield "pack", (words[::3], width)
        yield "pack", (np.array([2**width], np.uint64).astype(np.uint32), width)
        yield "unpack", (generator.integers(0, 256, 9, np.uint8), width, 72 // width)
        yield "unpack", (pack(words, width), width, count + 8)
