"""Where the bytes of a file go, what other encodings would have taken, and what other programs make of the weights."""

from __future__ import annotations

import gzip
import io
import lzma
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minisparse.codecs import Codec, Raw, relative, tensor
from minisparse.model import Model
from minisparse.params import Parameter

COLUMNS = (
    "name",
    "shape",
    "size",
    "kept",
    "density",
    "codec",
    "mask_bytes",
    "value_bytes",
    "bytes",
    "bits_per_weight",
)
"""Of a ledger."""


def tensor_row(name: str, shape: tuple[int, ...], decoded: tensor.Decoded, trained: bool = True) -> dict[str, Any]:
    """The row of a parameter, or of a buffer, which has no kept entries."""
    size, kept = math.prod(shape), len(decoded.entries)
    return {
        "name": name,
        "shape": "x".join(map(str, shape)),
        "size": size,
        "kept": kept if trained else None,
        "density": kept / size if trained else None,
        "codec": " + ".join(map(_describe, filter(None, (decoded.mask_codec, decoded.codec)))),
        "mask_bytes": decoded.nbytes[0],
        "value_bytes": decoded.nbytes[1],
        "bytes": sum(decoded.nbytes),
        "bits_per_weight": 8 * sum(decoded.nbytes) / size,
    }


def overhead_row(name: str, nbytes: int) -> dict[str, Any]:
    """The row of bytes that belong to no tensor."""
    return dict.fromkeys(COLUMNS) | {"name": name, "bytes": nbytes}


def floors(model: Model) -> dict[str, float]:
    """Entropy of the gaps and the kept entries of each parameter, and of each buffer, in bytes (`tensor.floors`)."""
    tensors = {name: flat(p) for name, p in model.parameters.items()}
    tensors |= {name: (buffer.ravel(), None) for name, buffer in model.buffers.items()}
    return {name: sum(tensor.floors(values, mask)) for name, (values, mask) in tensors.items()}


def costs(model: Model, version: int) -> list[dict[str, Any]]:
    """A row for each encoding of each tensor that was weighed for a file of this format version: its bytes, the
    entropy floor, and which was taken.
    """
    rows: list[dict[str, Any]] = []
    for name, p in model.parameters.items():
        values, mask = flat(p)
        rows += _cost_rows(name, values, mask, columns(p.shape), version)
    for name, buffer in model.buffers.items():
        rows += _cost_rows(name, buffer.ravel(), None, columns(buffer.shape), version)
    return rows


def stages(model: Model) -> list[dict[str, Any]]:
    """A row for each weight in Deep Compression's own format: percent of float32 that each stage leaves, and B.

    The last row is the whole model, biases and gains at 32 bits a value; no header is counted.
    """
    rows, totals = [], np.zeros(3, np.int64)
    for p in model.parameters.values():
        if p.role == "weight":
            values, mask = flat(p)
            mask = np.ones(p.size, bool) if mask is None else mask
            width = relative.choose_width(values, mask)
            sizes = relative.sizes(relative.streams(values, mask, width), width)
            rows.append(_stage_row(p.name, p.size, p.kept, width, sizes))
            totals += sizes
        else:
            totals += 32 * p.size
    return [*rows, _stage_row("(all)", model.size, model.kept, None, totals)]


def flat(p: Parameter) -> tuple[np.ndarray, np.ndarray | None]:
    """Values (n,) and mask (n,) or None, in C order."""
    return np.ascontiguousarray(p.value()).ravel(), None if p.mask is None else p.mask.ravel()


def columns(shape: tuple[int, ...]) -> int:
    """Entries a row of the matrix (O, I) that a weight (O, ...) is; a vector is one row."""
    return max(math.prod(shape[1:] if len(shape) > 1 else shape), 1)


def others(model: Model) -> dict[str, int]:
    """Bytes of the same parameters and buffers as .npz (deflated), and of their bytes under gzip -9 and xz -9e."""
    arrays = {name: p.value() for name, p in model.parameters.items()} | model.buffers
    npz = io.BytesIO()
    np.savez_compressed(npz, allow_pickle=False, **arrays)
    raw = b"".join(array.tobytes() for array in arrays.values())
    xz = lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)
    return {"npz_bytes": len(npz.getvalue()), "gzip_bytes": len(gzip.compress(raw, 9, mtime=0)), "xz_bytes": len(xz)}


def _cost_rows(
    name: str, values: np.ndarray, mask: np.ndarray | None, width: int, version: int
) -> list[dict[str, Any]]:
    rows = []
    ways = tensor.encodings(values, mask, width, tensor.allowed(version))
    floors = tensor.floors(values, mask)
    for stream, candidates, floor in zip(("places", "values"), ways, floors, strict=True):
        taken = tensor.shortest(candidates)[0] if candidates else None
        for codec, data in candidates:
            row = {"name": name, "stream": stream, "codec": _describe(codec), "bytes": len(data)}
            rows.append(row | {"floor_bytes": floor, "taken": codec == taken})
    return rows


def _stage_row(name: str, size: int, kept: int, width: int | None, nbits: Iterable[int]) -> dict[str, Any]:
    names = (f"{stage}_percent" for stage in relative.Sizes._fields)
    left = {stage: 100 * int(n) / (32 * size) for stage, n in zip(names, nbits, strict=True)}
    return {"name": name, "size": size, "kept": kept, "gap_bits": width} | left


def _describe(codec: Codec) -> str:
    """Name and settings, as in "gaps 5"."""
    name, settings = codec.to_config()
    return " ".join([name, *map(str, settings.values())]) if not isinstance(codec, Raw) else name
