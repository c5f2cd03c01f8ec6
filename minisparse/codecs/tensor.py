"""A tensor as two streams: where its kept entries are, and what they are.

    places     `Gaps` of the best width or `Bitmap`, whichever is shorter; none without a mask
    entries    `Raw` float32 or `Codebook`, whichever is shorter

The choice stands in plain JSON facts, of which those of "no mask, raw" are left out:

    mask, values    configurations of the two codecs
    bytes           [bytes of places, bytes of entries], if either codec is named
"""

from typing import Any, NamedTuple

import numpy as np

from minisparse.codecs.base import Codec, check_integer
from minisparse.codecs.bitpack import Bitmap
from minisparse.codecs.codebook import Codebook
from minisparse.codecs.gaps import Gaps, choose_width
from minisparse.codecs.raw import Raw


class Decoded(NamedTuple):
    """Kept entries (K,) float32, mask (n,) bool or None, and how each was stored."""

    entries: np.ndarray
    mask: np.ndarray | None
    codec: Codec
    mask_codec: Codec | None
    nbytes: tuple[int, int]


class Stream:
    """Bytes taken from the front; ValueError where there are too few, or some are left at the end."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def take(self, nbytes: int) -> bytes:
        check_integer("bytes", nbytes, 0, len(self.data) - self.position)
        self.position += nbytes
        return self.data[self.position - nbytes : self.position]

    def finish(self) -> None:
        if self.position != len(self.data):
            raise ValueError(f"{len(self.data) - self.position} bytes belong to nothing")


def encode(values: np.ndarray, mask: np.ndarray | None) -> tuple[dict[str, Any], bytes]:
    """Facts, and places followed by entries: values (n,) float32, mask (n,) bool or None."""
    facts: dict[str, Any] = {}
    places = b""
    if mask is not None:
        values = values[mask]
        codec, places = _shortest([Gaps(choose_width(mask)), Bitmap()], mask)
        facts["mask"] = codec.to_config()
    # n values of L levels take at least 4 L bytes and a bit each
    levels = len(np.unique(values.view(np.uint32)))
    candidates = [Raw(), Codebook()] if 4 * levels + len(values) / 8 < 4 * len(values) else [Raw()]
    codec, entries = _shortest(candidates, values)
    if codec != Raw():
        facts["values"] = codec.to_config()
    if facts:
        facts["bytes"] = [len(places), len(entries)]
    return facts, places + entries


def decode(facts: dict[str, Any], stream: Stream, count: int) -> Decoded:
    """The tensor of `count` entries whose streams come next.

    Raises
    ------
    ValueError : facts and streams do not describe one.
    """
    if not set(facts) <= {"mask", "values", "bytes"} or ("bytes" in facts) != bool(facts.keys() - {"bytes"}):
        raise ValueError(f"facts {sorted(facts)} must be 'mask' or 'values' or both with 'bytes', or none")
    mask_bytes, entry_bytes = facts.get("bytes", (0, 4 * count))
    places = stream.take(mask_bytes)
    mask, mask_codec, kept = None, None, count
    if "mask" in facts:
        mask_codec = Codec.from_config(facts["mask"])
        mask = _decode(mask_codec, places, count, bool)
        kept = int(np.count_nonzero(mask))
    elif mask_bytes:
        raise ValueError(f"{mask_bytes} bytes of places belong to no mask")
    codec = Codec.from_config(facts["values"]) if "values" in facts else Raw()
    entries = _decode(codec, stream.take(entry_bytes), kept, np.float32)
    return Decoded(entries, mask, codec, mask_codec, (mask_bytes, entry_bytes))


def _shortest(codecs: list[Codec], array: np.ndarray) -> tuple[Codec, bytes]:
    """The codec with the fewest bytes, the first of equals, and its bytes."""
    return min(((codec, codec.encode(array)) for codec in codecs), key=lambda pair: len(pair[1]))


def _decode(codec: Codec, data: bytes, count: int, dtype: Any) -> np.ndarray:
    array = codec.decode(data, count)
    if array.dtype != dtype:
        raise ValueError(f"{codec} gives {array.dtype} where {np.dtype(dtype)} belongs")
    return array
