"""Bit strings, the first bit the most significant of the first byte, zeros up to a whole byte; and varints."""

import numpy as np

from minisparse._core import bitpack
from minisparse.compact import put_varint, take_varint

__all__ = ["pack_fixed", "put_varint", "take_varint", "unpack_fixed"]


def pack_fixed(words: np.ndarray, width: int) -> bytes:
    """Words (n,) uint32 below 2^width, one after the other: width in 1 to 32."""
    return bitpack.pack(words, width).tobytes()


def unpack_fixed(data: bytes, width: int, count: int) -> np.ndarray:
    """(count,) uint32; ValueError unless data holds exactly `count` words and zeros after them."""
    return bitpack.unpack(np.frombuffer(data, np.uint8), width, count)
