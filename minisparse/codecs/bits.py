"""Bit strings, the first bit the most significant of the first byte, zeros up to a whole byte; and varints."""

import numpy as np

CHUNK = 1 << 16
"""Words or bytes handled at a time, so that memory stays near that of the input."""


def pack(words: np.ndarray, widths: np.ndarray) -> bytes:
    """The lowest widths[i] bits of words[i], one after the other: words (n,) uint32, widths (n,) in 0 to 32."""
    parts = [np.zeros(0, np.uint8)]
    for first in range(0, len(words), CHUNK):
        width = widths[first : first + CHUNK].astype(np.int64)
        end = np.cumsum(width)
        # bit j of the chunk lies in the word i with end[i-1] <= j < end[i], end[i] - 1 - j places from its right
        place = np.repeat(end, width) - 1 - np.arange(end[-1])
        word = np.repeat(words[first : first + CHUNK].astype(np.int64), width)
        parts.append((word >> place & 1).astype(np.uint8))
    return np.packbits(np.concatenate(parts)).tobytes()


def pack_fixed(words: np.ndarray, width: int) -> bytes:
    """All words with one width in 1 to 32."""
    return pack(words, np.full(len(words), width))


def unpack_fixed(data: bytes, width: int, count: int) -> np.ndarray:
    """(count,) uint32; ValueError unless data holds exactly `count` words and zeros after them."""
    check_padding(data, count * width)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width)
    words = np.zeros(count, np.uint32)
    for column in range(width):
        words = words << np.uint32(1) | bits[:, column]
    return words


def check_padding(data: bytes, nbits: int) -> None:
    """ValueError unless `nbits` end in the last byte and zeros follow."""
    spare = 8 * len(data) - nbits
    if not 0 <= spare < 8 or (spare and data[-1] & ((1 << spare) - 1)):
        raise ValueError(f"{nbits} bits and zeros after them must fill {len(data)} bytes exactly")


def put_varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set on all but the last byte: value in [0, 2^63)."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def take_varint(data: bytes, start: int = 0) -> tuple[int, int]:
    """(value, where the next field starts); ValueError if there is none or a shorter form exists."""
    value = 0
    for place, byte in enumerate(data[start : start + 9]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            if byte == 0 and place:
                raise ValueError("a varint ends in a zero byte: it has a shorter form")
            return value, start + place + 1
    raise ValueError("a varint is cut short or longer than 9 bytes")
