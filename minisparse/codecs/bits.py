"""Bit strings, the first bit the most significant of the first byte, zeros up to a whole byte; and varints."""

import numpy as np

from minisparse._core import bitpack


def pack_fixed(words: np.ndarray, width: int) -> bytes:
    """Words (n,) uint32 below 2^width, one after the other: width in 1 to 32."""
    return bitpack.pack(words, width).tobytes()


def unpack_fixed(data: bytes, width: int, count: int) -> np.ndarray:
    """(count,) uint32; ValueError unless data holds exactly `count` words and zeros after them."""
    return bitpack.unpack(np.frombuffer(data, np.uint8), width, count)


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
