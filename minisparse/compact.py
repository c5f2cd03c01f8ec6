"""JSON values as few bytes, in one way only: what the headers of files are written in.

The first byte of a value says what it is; a varint is an unsigned integer in groups of seven bits, the lowest first,
the top bit set on all bytes but the last.

    00-7f   an integer, 0 to 127               e4   an integer v < 0: varint of -1 - v
    80-df   word 0 to 95 of WORDS              e5   a number: float64, little endian
    e0      null                               e6   a text: its bytes (varint), UTF-8
    e1 e2   false, true                        e7   a list: its length (varint), its items
    e3      an integer v > 127: varint of v    e8   an object: its length (varint), name and value of each member
    f0-f7   a list of 0 to 7 items             e9   a text that has been written out before: its number (varint),
    f8-ff   an object of 0 to 7 members             counted from 0 in the order of their first appearance

Members keep their order. Each value takes the shortest form, so equal values are equal bytes; others are refused.
"""

import math
import struct
from typing import Any

# fmt: off
WORDS = [
    "kind", "sections", "header", "model", "checkpoint", "parameters", "buffers", "name", "net", "input", "seed",
    "layers", "Sequential", "Linear", "Conv2d", "BatchNorm", "GroupNorm", "ReLU", "LeakyReLU", "Tanh", "Sigmoid",
    "Flatten", "Dropout", "MaxPool2d", "AvgPool2d", "GlobalAvgPool", "Residual", "PaddedShortcut", "Concat",
    "inputs", "outputs", "kernel", "stride", "padding", "groups", "bias", "gain", "channels", "momentum", "eps",
    "slope", "p", "body", "shortcut", "rest", "mask", "values", "bytes", "raw", "bitmap", "gaps", "codebook",
    "bitpack", "huffman", "arithmetic", "adaptive", "split", "width", "columns", "coder", "order", "dtype",
    "flatten", "relu", "relu1", "relu2", "relu3", "fc", "fc1", "fc2", "fc3", "conv", "conv1", "conv2", "norm",
    "norm1", "norm2", "pool", "pool1", "pool2", "block1", "block2", "block3", "block4", "stage1", "stage2",
    "stage3", "dropout", "multiples",
]
# fmt: on
"""Texts of one byte, the last one since format version 2; the places up to 95 are free."""

DEEPEST = 100
"""Levels of lists and objects."""
NUMBER = struct.Struct("<d")


def pack(value: Any) -> bytes:
    """The bytes of None, bool, int in (-2^63, 2^63), finite float, str, or lists and dicts of them.

    Raises
    ------
    ValueError : it is none of these, or nested more than 100 levels deep.
    """
    out = bytearray()
    _put(out, value, {word: 0x80 + i for i, word in enumerate(WORDS)}, {}, 0)
    return bytes(out)


def unpack(data: bytes) -> Any:
    """The value of these bytes, which takes memory in proportion to them.

    Raises
    ------
    ValueError : they are not what `pack` gives.
    """
    reader = _Reader(data)
    value = reader.value(0)
    if reader.position != len(data):
        raise ValueError(f"{len(data) - reader.position} bytes follow the value")
    if pack(value) != data:
        raise ValueError("a value is not in its shortest form, or an object names a member twice")
    return value


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


def _put(out: bytearray, value: Any, words: dict[str, int], seen: dict[str, int], depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"values are nested more than {DEEPEST} levels deep")
    if value is None or isinstance(value, bool):
        out.append({None: 0xE0, False: 0xE1, True: 0xE2}[value])
    elif isinstance(value, int):
        _put_integer(out, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        out += b"\xe5" + NUMBER.pack(value)
    elif isinstance(value, str):
        _put_text(out, value, words, seen)
    elif isinstance(value, list | tuple | dict):
        few, many = (0xF8, 0xE8) if isinstance(value, dict) else (0xF0, 0xE7)
        out += bytes([few + len(value)]) if len(value) < 8 else bytes([many]) + put_varint(len(value))
        for item in value:
            if isinstance(value, dict):
                _put_text(out, item, words, seen)
                item = value[item]
            _put(out, item, words, seen, depth + 1)
    else:
        raise ValueError(f"{type(value).__name__} is no plain JSON value")


def _put_integer(out: bytearray, value: int) -> None:
    if not -(2**63) < value < 2**63:
        raise ValueError(f"{value} lies outside (-2^63, 2^63)")
    if 0 <= value < 128:
        out.append(value)
    else:
        out += b"\xe3" + put_varint(value) if value > 0 else b"\xe4" + put_varint(-1 - value)


def _put_text(out: bytearray, text: str, words: dict[str, int], seen: dict[str, int]) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} names a member: only text does")
    if text in words:
        out.append(words[text])
    elif text in seen:
        out += b"\xe9" + put_varint(seen[text])
    else:
        seen[text] = len(seen)
        encoded = text.encode()
        out += b"\xe6" + put_varint(len(encoded)) + encoded


class _Reader:
    """Values taken from the front of bytes; `pack` has the last word on their form."""

    def __init__(self, data: bytes):
        self.data, self.position, self.seen = data, 0, []

    def value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError(f"values are nested more than {DEEPEST} levels deep")
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if first < 0xE0 or first in (0xE6, 0xE9):
            return self.text(first)
        if first in (0xE0, 0xE1, 0xE2):
            return (None, False, True)[first - 0xE0]
        if first in (0xE3, 0xE4):
            number = self.varint()
            return number if first == 0xE3 else -1 - number
        if first == 0xE5:
            return NUMBER.unpack(self.take(NUMBER.size))[0]
        if first == 0xE7 or 0xF0 <= first < 0xF8:
            length = self.varint() if first == 0xE7 else first - 0xF0
            return [self.value(depth + 1) for _ in range(length)]
        if first == 0xE8 or first >= 0xF8:
            length = self.varint() if first == 0xE8 else first - 0xF8
            return {self.text(self.take(1)[0]): self.value(depth + 1) for _ in range(length)}
        raise ValueError(f"no value starts with the byte {first:02x}")

    def text(self, first: int) -> str:
        if 0x80 <= first < 0x80 + len(WORDS):
            return WORDS[first - 0x80]
        if first == 0xE6:
            self.seen.append(self.take(self.varint()).decode())
            return self.seen[-1]
        number = self.varint() if first == 0xE9 else len(self.seen)
        if number >= len(self.seen):
            raise ValueError(f"no text starts with the byte {first:02x}, or it names none before it")
        return self.seen[number]

    def varint(self) -> int:
        value, self.position = take_varint(self.data, self.position)
        return value

    def take(self, nbytes: int) -> bytes:
        start, self.position = self.position, self.position + nbytes
        if self.position > len(self.data):
            raise ValueError(f"cut short: {nbytes} bytes are missing at {start}")
        return self.data[start : self.position]
