"""A tensor as two streams: where its kept entries are, and what they are.

    places     `Gaps` of the best width, `Bitmap` or `Adaptive`; none without a mask
    entries    `Raw`, `Split`, `Codebook` with each coder, `Multiples`

The encoding with the fewest bytes is taken, the first of equals in this order. The choice stands in plain JSON facts,
None for "no mask, raw":

    mask, values    configurations of the two codecs
    bytes           [bytes of places, bytes of entries]
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from minisparse.codecs.arithmetic import Adaptive
from minisparse.codecs.base import Codec, MaskCodec, check_integer
from minisparse.codecs.bitpack import Bitmap
from minisparse.codecs.codebook import CODERS, Codebook
from minisparse.codecs.gaps import Gaps, choose_width
from minisparse.codecs.multiples import Multiples, common_step
from minisparse.codecs.raw import Raw
from minisparse.codecs.split import Split

FACTS = {"mask", "values", "bytes"}
OF_VERSION_1 = {"gaps", "bitmap", "adaptive", "raw", "split", "codebook", "huffman", "arithmetic", "chain"}
"""Codecs, and coders of a code book, in files of format version 1."""
LEVELS = {"huffman": 1 << 31, "arithmetic": 1 << 16, "chain": 1 << 8}
"""Levels that the coders of a code book's indices can take."""


class Decoded(NamedTuple):
    """Kept entries (K,), their places (K,) int64 or None for all, and how each was stored."""

    entries: np.ndarray
    places: np.ndarray | None
    codec: Codec
    mask_codec: MaskCodec | None
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


def encodings(
    values: np.ndarray, mask: np.ndarray | None, columns: int, codecs: Collection[str] | None = None
) -> tuple[list, list]:
    """(codec, bytes) of each way to store the places, and the entries: what `encode` chooses from.

    Parameters
    ----------
    values : (n,) float32, or another dtype, which is stored as it is
    mask : (n,) bool, or None
    columns : entries a row
    codecs : names of codecs, and of coders of a code book, that may be used; None for all
    """
    for_places: list[Codec] = []
    if mask is not None:
        values = values[mask]
        for_places = [Gaps(choose_width(mask)), Bitmap(), Adaptive(columns)]
    for_values: list[Codec] = [Raw(values.dtype.name)]
    if values.dtype == np.float32:
        for_values.append(Split())
        levels = np.unique(values.view(np.uint32))
        # the levels alone take 4 bytes each
        if len(levels) < len(values):
            for_values += [Codebook(coder) for coder in CODERS if len(levels) <= LEVELS[coder]]
        if common_step(levels.view(np.float32)) is not None:
            for_values.append(Multiples())
    ways = (for_places, mask), (for_values, values)
    return tuple([(codec, codec.encode(array)) for codec in some if _may(codec, codecs)] for some, array in ways)


def allowed(version: int, codecs: Collection[str] | None = None) -> Collection[str] | None:
    """Of these codecs, None for all, those that files of a format version may use."""
    if version > 1:
        return codecs
    return OF_VERSION_1 if codecs is None else OF_VERSION_1.intersection(codecs)


def _may(codec: Codec, codecs: Collection[str] | None) -> bool:
    return codecs is None or {codec.name, getattr(codec, "coder", codec.name)} <= set(codecs)


def shortest(ways: list[tuple[Codec, bytes]]) -> tuple[Codec, bytes]:
    """The codec with the fewest bytes, the first of equals, and its bytes."""
    return min(ways, key=lambda pair: len(pair[1]))


def encode(
    values: np.ndarray, mask: np.ndarray | None, columns: int, codecs: Collection[str] | None = None
) -> tuple[dict[str, Any] | None, bytes]:
    """Facts, and places followed by entries, the shortest of `encodings`; ValueError if `codecs` leaves none."""
    facts: dict[str, Any] = {}
    places = b""
    ways = encodings(values, mask, columns, codecs)
    if not ways[1] or (mask is not None and not ways[0]):
        raise ValueError(f"codecs={sorted(codecs or ())} leaves none for a mask or for values: add 'bitmap' and 'raw'")
    if mask is not None:
        codec, places = shortest(ways[0])
        facts["mask"] = codec.to_config()
    codec, data = shortest(ways[1])
    if not isinstance(codec, Raw):
        facts["values"] = codec.to_config()
    if facts:
        facts["bytes"] = [len(places), len(data)]
    return facts or None, places + data


def decode(facts: dict[str, Any] | None, stream: Stream, count: int, dtype: Any = np.float32) -> Decoded:
    """The tensor of `count` entries whose streams come next.

    Raises
    ------
    ValueError : facts and streams do not describe one.
    """
    if facts is None:
        facts, nbytes = {}, (0, count * np.dtype(dtype).itemsize)
    elif isinstance(facts, dict) and "bytes" in facts and len(facts) > 1 and set(facts) <= FACTS:
        nbytes = facts["bytes"]
    else:
        raise ValueError(f"facts {facts} must be 'mask' or 'values' or both with 'bytes', or none")
    mask_bytes, entry_bytes = nbytes
    data = stream.take(mask_bytes)
    places, mask_codec, kept = None, None, count
    if "mask" in facts:
        mask_codec = Codec.from_config(facts["mask"])
        if not isinstance(mask_codec, MaskCodec):
            raise ValueError(f"{mask_codec} is no codec of masks")
        places = mask_codec.places(data, count)
        kept = len(places)
    elif mask_bytes:
        raise ValueError(f"{mask_bytes} bytes of places belong to no mask")
    codec = Codec.from_config(facts["values"]) if "values" in facts else Raw(np.dtype(dtype).name)
    entries = codec.decode(stream.take(entry_bytes), kept)
    if entries.dtype != dtype:
        raise ValueError(f"{codec} gives {entries.dtype} where {np.dtype(dtype)} belongs")
    return Decoded(entries, places, codec, mask_codec, (mask_bytes, entry_bytes))


def floors(values: np.ndarray, mask: np.ndarray | None) -> tuple[float, float]:
    """Entropy of the gaps between kept entries, and of the kept entries, in bytes.

    It is zero-order: of each gap and each value on its own, its distribution known. No prefix code of them is
    shorter; a coder that looks at neighbours may be. Levels and tables are not counted.
    """
    if mask is None:
        return 0.0, entropy(values)
    return entropy(np.diff(np.flatnonzero(mask), prepend=-1)), entropy(values[mask])


def entropy(values: np.ndarray) -> float:
    """n H of values (n,) told apart by their bits, in bytes."""
    words = np.ascontiguousarray(values).view(f"u{values.itemsize}")
    counts = np.unique(words, return_counts=True)[1]
    return float(counts @ np.log2(len(values) / counts)) / 8
