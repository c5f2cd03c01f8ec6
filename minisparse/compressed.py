"""A model as the bytes of its file: every size that is quoted is the length of bytes that decode to the same bits.

The compressor reads the parameters' facts, never the method that left them there:

    mask, values   the kept entries, as two streams (codecs/tensor.py)
    rest_scale     entries off the mask are rest_scale * init(seed, index), made anew on loading: no bytes

The header holds the architecture (`Model.config()`) and the facts that differ from "no mask, rest_scale 0, raw".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import fileformat
from minisparse.codecs import Codec, Raw, tensor
from minisparse.fileformat import FileFormatError
from minisparse.layers.base import Layer
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.stores import DenseStore

KIND = "model"
MAX_VALUES = 1 << 28
"""Parameters that a file may describe unless its reader allows more: 1 GiB of float32."""
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


@dataclass(frozen=True)
class CompressedModel:
    """The bytes of a .msp file, checked: they decode to a model.

    Parameters
    ----------
    data : the whole file
    name : what errors call it
    max_values : parameters that the file may describe, since those at rest take no bytes

    Raises
    ------
    FileFormatError : data is damaged or describes no model.
    """

    data: bytes = field(repr=False)
    name: str = field(default="data", compare=False)
    max_values: int = field(default=MAX_VALUES, compare=False)

    def __post_init__(self):
        _, rows = _decode(self.data, self.name, self.max_values)
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def load(cls, path: str | Path, max_values: int = MAX_VALUES) -> CompressedModel:
        """The model at `path`, checked."""
        return cls(Path(path).read_bytes(), str(path), max_values)

    def save(self, path: str | Path) -> int:
        """Write the file in one step; its number of bytes."""
        fileformat.write_atomically(path, self.data)
        return self.file_bytes

    def model(self) -> Model:
        """A new model with the weights, masks, rest scales and buffers, each the same to the bit."""
        return _decode(self.data, self.name, self.max_values)[0]

    def to_bytes(self) -> bytes:
        return self.data

    @property
    def file_bytes(self) -> int:
        return len(self.data)

    @property
    def dense_bytes(self) -> int:
        """4 bytes for each parameter and each value of a buffer."""
        return 4 * sum(row["size"] or 0 for row in self._rows)

    def ledger(self) -> list[dict[str, Any]]:
        """A row for each part of the file, in its order; `bytes` sum to `file_bytes` exactly."""
        return [dict(row) for row in self._rows]

    def bytes_by_tensor(self) -> dict[str, int]:
        """Bytes of each parameter and buffer in the file, by name."""
        return {row["name"]: row["bytes"] for row in self._rows if row["size"] is not None}

    def summary(self) -> dict[str, Any]:
        """kept and density of the parameters, file_bytes, and ratio = dense_bytes / file_bytes."""
        rows = [row for row in self._rows if row["kept"] is not None]
        kept, size = sum(row["kept"] for row in rows), sum(row["size"] for row in rows)
        ratio = self.dense_bytes / self.file_bytes
        return {"kept": kept, "density": kept / max(size, 1), "file_bytes": self.file_bytes, "ratio": ratio}


def compress(model: Model) -> CompressedModel:
    """The file of this model; equal models give equal bytes.

    Raises
    ------
    ValueError : a parameter is not float32, an entry off its mask is not at rest, or the model's configuration
        does not rebuild it.
    """
    facts, content = {}, []
    for name, parameter in model.parameters.items():
        its_facts, streams = _encode_parameter(parameter)
        content.append(streams)
        if its_facts:
            facts[name] = its_facts
    buffers = [Raw(buffer.dtype.name).encode(buffer.ravel()) for buffer in model.buffers.values()]
    sections = {"parameters": b"".join(content), "buffers": b"".join(buffers)}
    data = fileformat.encode(KIND, {"model": model.config(), "parameters": facts}, sections)
    compressed = CompressedModel(data, model.name, max(MAX_VALUES, model.size))
    _check_same(model, compressed.model())
    return compressed


def _encode_parameter(p: Parameter) -> tuple[dict[str, Any], bytes]:
    """Facts that differ from the default, and the bytes of mask and values."""
    values, mask = np.ascontiguousarray(p.value()).ravel(), p.mask
    if values.dtype != np.float32:
        raise ValueError(f"{p.name} is {values.dtype}: files hold float32; build the model with dtype=np.float32")
    if mask is not None:
        mask = mask.ravel()
        if (values.view(np.uint32) != p.rest().ravel().view(np.uint32))[~mask].any():
            raise ValueError(f"{p.name}: an entry off the mask is not at rest; call Parameter.keep(mask) first")
    facts, content = tensor.encode(values, mask)
    return ({"rest": p.rest_scale} if p.rest_scale else {}) | facts, content


def _check_same(ours: Model, theirs: Model) -> None:
    """ValueError unless all parameters, their facts and the buffers are the same to the bit."""
    parameters, buffers = theirs.parameters, theirs.buffers
    same = {name: name in parameters and _same(p, parameters[name]) for name, p in ours.parameters.items()}
    same |= {name: b.tobytes() == buffers[name].tobytes() for name, b in ours.buffers.items()}
    if not all(same.values()):
        different = ", ".join(name for name in same if not same[name])
        raise ValueError(f"{ours.name}: Model.from_config(model.config()) does not rebuild {different}")


def _same(ours: Parameter, theirs: Parameter) -> bool:
    facts = [(p.shape, p.rest_scale, p.mask is None or p.mask.tobytes()) for p in (ours, theirs)]
    return facts[0] == facts[1] and ours.value().tobytes() == theirs.value().tobytes()


def _decode(data: bytes, name: str, max_values: int) -> tuple[Model, list[dict[str, Any]]]:
    """The model and the ledger; whatever is wrong in hostile content surfaces as FileFormatError."""
    header, sections = fileformat.decode(data, KIND, name)
    try:
        model = _build(header, sections, max_values)
        stream, facts = tensor.Stream(sections["parameters"]), header["parameters"]
        rows = [_decode_parameter(p, facts.get(p.name, {}), stream) for p in model.parameters.values()]
        stream.finish()
        stream = tensor.Stream(sections["buffers"])
        rows += [_decode_buffer(key, buffer, stream) for key, buffer in model.buffers.items()]
        stream.finish()
    except Exception as error:  # layers of any kind are built from what the header says
        raise FileFormatError(f"{name}: describes no model ({error or type(error)}); write it again") from error
    overhead = len(data) - sum(map(len, sections.values()))
    checksum = fileformat.CHECKSUM.size
    rows = [_overhead_row("(header)", overhead - checksum), *rows, _overhead_row("(checksum)", checksum)]
    return model, rows


def _build(header: dict[str, Any], sections: dict[str, bytes], max_values: int) -> Model:
    """The model before training, after checking that its size is allowed; its parameters are not made yet."""
    if set(header) != {"model", "parameters"} or list(sections) != ["parameters", "buffers"]:
        raise ValueError(f"header {sorted(header)} and sections {list(sections)} are not those of a model")
    # buffers are made with their layers and are no larger than a few times a setting
    if sum(_integers(header["model"]["net"])) > max_values:
        raise ValueError(f"the layers' settings exceed max_values={max_values}")
    net = Layer.from_config(header["model"]["net"])
    size = sum(math.prod(p.shape) for _, p in net.named_parameters())
    if size > max_values:
        raise ValueError(f"{size} parameters are more than max_values={max_values}, which the reader may raise")
    model = Model.from_config(header["model"])
    unknown = set(header["parameters"]) - set(model.parameters)
    if unknown:
        raise ValueError(f"there is no parameter {min(unknown)!r}")
    return model


def _integers(config: Any) -> Iterator[int]:
    """Absolute values of all integers within JSON."""
    if isinstance(config, int):
        yield abs(config)
    elif isinstance(config, dict | list):
        for item in config.values() if isinstance(config, dict) else config:
            yield from _integers(item)


def _decode_parameter(p: Parameter, facts: dict[str, Any], stream: tensor.Stream) -> dict[str, Any]:
    """Lay facts and values over the parameter; its row of the ledger."""
    rest = replace(p.init, factor=float(facts.pop("rest", 0.0)))
    decoded = tensor.decode(facts, stream, p.size)
    values, mask = decoded.entries, decoded.mask
    if mask is not None:
        values = rest.range(0, p.size)
        values[mask] = decoded.entries
        mask = mask.reshape(p.shape)
    p.store = DenseStore(values.reshape(p.shape), rest, mask)
    return _row(p.name, p.shape, len(decoded.entries), decoded.mask_codec, decoded.codec, decoded.nbytes)


def _decode_buffer(name: str, buffer: np.ndarray, stream: tensor.Stream) -> dict[str, Any]:
    codec = Raw(buffer.dtype.name)
    buffer[...] = codec.decode(stream.take(buffer.nbytes), buffer.size).reshape(buffer.shape)
    return _row(name, buffer.shape, None, None, codec, (0, buffer.nbytes))


def _row(
    name: str,
    shape: tuple[int, ...],
    kept: int | None,
    mask_codec: Codec | None,
    codec: Codec,
    nbytes: tuple[int, int],
) -> dict[str, Any]:
    size = math.prod(shape)
    return {
        "name": name,
        "shape": "x".join(map(str, shape)),
        "size": size,
        "kept": kept,
        "density": None if kept is None else kept / size,
        "codec": " + ".join(map(_describe, filter(None, (mask_codec, codec)))),
        "mask_bytes": nbytes[0],
        "value_bytes": nbytes[1],
        "bytes": sum(nbytes),
        "bits_per_weight": 8 * sum(nbytes) / size,
    }


def _overhead_row(name: str, nbytes: int) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"name": name, "bytes": nbytes}


def _describe(codec: Codec) -> str:
    """Name and settings, as in "gaps 5"."""
    name, settings = codec.to_config()
    return " ".join([name, *map(str, settings.values())])
