"""The contract of a codec: what was encoded comes back to the bit, and damaged data is refused in one way."""

import json
from typing import Any

import numpy as np

from minisparse.codecs import Codec

LONGEST = 200
"""Bytes up to which every shorter prefix and every flipped bit is tried."""


def check_codec(codec: Codec, array: np.ndarray) -> None:
    """AssertionError unless the codec keeps the contract on this vector (n,).

    Decoding gives equal bits and dtype in memory of its own; encoding is deterministic and leaves its operand
    alone; the configuration survives JSON; truncated or extended data raise ValueError, unless they are what encode
    gives for another vector; a wrong count or flipped bits raise ValueError or give a vector of the count that was
    asked for.
    """
    before = array.copy()
    data = codec.encode(array)
    _expect(type(data) is bytes, f"{codec}: encode gives {type(data).__name__}, not bytes")
    _expect(_same(array, before), f"{codec}: encode changed its operand")
    _expect(codec.encode(before) == data, f"{codec}: encode gives other bytes the second time")
    decoded = codec.decode(data, len(array))
    _expect(_same(decoded, array), f"{codec}: {array} came back as {decoded}")
    _expect(decoded.flags.writeable and decoded.flags.owndata, f"{codec}: decode must give memory of its own")
    _check_config(codec, data, array)
    for length in range(len(data)) if len(data) <= LONGEST else (0, 1, len(data) // 2, len(data) - 1):
        _expect(_refuses(codec, data[:length], len(array)), f"{codec}: takes {length} of {len(data)} bytes")
    for extra in (b"\0", b"\1", b"\xff" * 9):
        _expect(_refuses(codec, data + extra, len(array)), f"{codec}: takes {extra!r} beyond its data")
    for count in (-1, 0, len(array) - 1, len(array) + 1, 2 * len(array) + 8):
        _decode(codec, data, count)
    for bit in range(8 * min(len(data), LONGEST)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 128 >> bit % 8
        _decode(codec, bytes(flipped), len(array))


def _check_config(codec: Codec, data: bytes, array: np.ndarray) -> None:
    again = Codec.from_config(json.loads(json.dumps(codec.to_config(), allow_nan=False)))
    _expect(again == codec and type(again) is type(codec), f"{codec}: came back from its configuration as {again}")
    _expect(_same(again.decode(data, len(array)), array), f"{codec}: decodes otherwise from its configuration")


def _decode(codec: Codec, data: bytes, count: int) -> np.ndarray | None:
    """A vector of `count` entries, or None for ValueError; AssertionError for anything else."""
    try:
        decoded = codec.decode(data, count)
    except ValueError:
        return None
    except Exception as error:
        raise AssertionError(f"{codec}: decode({data[:40]!r}, {count}) raises {error!r}, not ValueError") from error
    _expect(decoded.shape == (count,), f"{codec}: decode({data[:40]!r}, {count}) gives shape {decoded.shape}")
    return decoded


def _refuses(codec: Codec, data: bytes, count: int) -> bool:
    """Whether the data are refused, or are those of the vector that they give."""
    decoded = _decode(codec, data, count)
    return decoded is None or codec.encode(decoded) == data


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)
