"""A model as the bytes of its file: every size that is quoted is the length of bytes that decode to the same bits.

The compressor reads the parameters' facts, never the method that left them there:

    mask, values   the kept entries, as two streams (codecs/tensor.py)
    rest_scale     entries off the mask are rest_scale * init(seed, index), made anew on loading: no bytes

The header holds the architecture (`Model.config()`) and, for each parameter and buffer in the order of the forward
pass, the facts that differ from "no mask, rest_scale 0, raw".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import fileformat, ledger
from minisparse.codecs import tensor
from minisparse.fileformat import FileFormatError
from minisparse.layers.base import Layer
from minisparse.model import Model
from minisparse.params import Parameter
from minisparse.stores import DenseStore, SparseStore

KIND = "model"
MAX_VALUES = 1 << 28
"""Parameters that a file may describe unless its reader allows more: 1 GiB of float32."""
BYTES_A_VALUE = 16
"""Of a file, at most: buffers of float64 and what codecs of hostile choice may add."""


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
        max_bytes = fileformat.HEADER_CAP + BYTES_A_VALUE * max_values
        return cls(fileformat.read_bytes(path, max_bytes), str(path), max_values)

    def save(self, path: str | Path) -> int:
        """Write the file in one step; its number of bytes."""
        fileformat.write_atomically(path, self.data)
        return self.file_bytes

    def model(self, sparse: bool = False) -> Model:
        """A new model with the weights, masks, rest scales and buffers, each the same to the bit.

        Parameters
        ----------
        sparse : weights with a mask are held by sparse stores, made from the file's places and values without ever
            being expanded
        """
        return _decode(self.data, self.name, self.max_values, sparse)[0]

    def to_bytes(self) -> bytes:
        return self.data

    @property
    def version(self) -> int:
        """Of the format."""
        return self.data[len(fileformat.MAGIC)]

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


def compress(
    model: Model, codecs: Collection[str] | None = None, version: int = fileformat.VERSION
) -> CompressedModel:
    """The file of this model; equal models give equal bytes.

    Parameters
    ----------
    codecs : names of the codecs to choose from, None for all; "gaps", "codebook", "huffman", "raw" are those of
        Deep Compression
    version : of the format; files of version 1 can be read by older readers

    Raises
    ------
    ValueError : a parameter is not float32, an entry off its mask is not at rest, or the model's configuration
        does not rebuild it.
    """
    codecs = tensor.allowed(version, codecs)
    encoded = [_encode_parameter(p, codecs) for p in model.parameters.values()]
    buffers = [tensor.encode(b.ravel(), None, ledger.columns(b.shape), codecs) for b in model.buffers.values()]
    header = {"model": model.config(), "parameters": [f for f, _ in encoded], "buffers": [f for f, _ in buffers]}
    sections = {"parameters": b"".join(d for _, d in encoded), "buffers": b"".join(d for _, d in buffers)}
    data = fileformat.encode(KIND, header, sections, version)
    compressed = CompressedModel(data, model.name, max(MAX_VALUES, model.size))
    _check_same(model, compressed.model())
    return compressed


def verify(path: str | Path, max_values: int = MAX_VALUES) -> CompressedModel:
    """The model at `path`, after every check there is: the last is that its file is the one that `compress` gives in
    its version of the format.

    Raises
    ------
    FileFormatError : the file is damaged, describes no model, or describes it in another way than `compress`.
    """
    compressed = CompressedModel.load(path, max_values)
    again = compress(compressed.model(), version=compressed.version).data
    if again != compressed.data:
        place = next((i for i, (a, b) in enumerate(zip(again, compressed.data, strict=False)) if a != b), len(again))
        raise FileFormatError(
            f"{path}: is whole, but not the one encoding of its model (from byte {place} on); "
            "`minisparse compress` writes that"
        )
    return compressed


def _encode_parameter(p: Parameter, codecs: Collection[str] | None) -> tuple[dict[str, Any] | None, bytes]:
    """Facts that differ from the default, and the bytes of mask and values."""
    values, mask = ledger.flat(p)
    if values.dtype != np.float32:
        raise ValueError(f"{p.name} is {values.dtype}: files hold float32; build the model with dtype=np.float32")
    if mask is not None and (values.view(np.uint32) != p.rest().ravel().view(np.uint32))[~mask].any():
        raise ValueError(f"{p.name}: an entry off the mask is not at rest; call Parameter.keep(mask) first")
    facts, content = tensor.encode(values, mask, ledger.columns(p.shape), codecs)
    return ({"rest": p.rest_scale} | (facts or {}) if p.rest_scale else facts), content


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


def _decode(data: bytes, name: str, max_values: int, sparse: bool = False) -> tuple[Model, list[dict[str, Any]]]:
    """The model and the ledger; whatever is wrong in hostile content surfaces as FileFormatError."""
    header, sections = fileformat.decode(data, KIND, name)
    try:
        model = _build(header, sections, max_values)
        stream = tensor.Stream(sections["parameters"])
        pairs = zip(model.parameters.values(), header["parameters"], strict=True)
        rows = [_decode_parameter(p, facts, stream, sparse) for p, facts in pairs]
        stream.finish()
        stream = tensor.Stream(sections["buffers"])
        triples = zip(model.buffers.items(), header["buffers"], strict=True)
        rows += [_decode_buffer(key, buffer, facts, stream) for (key, buffer), facts in triples]
        stream.finish()
    except Exception as error:  # layers of any kind are built from what the header says
        raise FileFormatError(f"{name}: describes no model ({error or type(error)}); write it again") from error
    overhead = len(data) - sum(map(len, sections.values())) - fileformat.DIGEST
    digest = ledger.overhead_row("(digest)", fileformat.DIGEST)
    return model, [ledger.overhead_row("(header)", overhead), *rows, digest]


def _build(header: dict[str, Any], sections: dict[str, bytes], max_values: int) -> Model:
    """The model before training, after checking that its size is allowed; its parameters are not made yet."""
    if list(header) != ["model", "parameters", "buffers"] or list(sections) != ["parameters", "buffers"]:
        raise ValueError(f"header {sorted(header)} and sections {list(sections)} are not those of a model")
    # buffers are made with their layers and are no larger than a few times a setting
    if sum(_integers(header["model"]["net"])) > max_values:
        raise ValueError(f"the layers' settings exceed max_values={max_values}")
    net = Layer.from_config(header["model"]["net"])
    size = sum(math.prod(p.shape) for _, p in net.named_parameters())
    if size > max_values:
        raise ValueError(f"{size} parameters are more than max_values={max_values}, which the reader may raise")
    return Model.from_config(header["model"])


def _integers(config: Any) -> Iterator[int]:
    """Absolute values of all integers within JSON."""
    if isinstance(config, int):
        yield abs(config)
    elif isinstance(config, dict | list):
        for item in config.values() if isinstance(config, dict) else config:
            yield from _integers(item)


def _decode_parameter(p: Parameter, facts: Any, stream: tensor.Stream, sparse: bool) -> dict[str, Any]:
    """Lay facts and values over the parameter; its row of the ledger."""
    facts = dict(facts or {})
    rest = replace(p.init, factor=float(facts.pop("rest", 0.0)))
    decoded = tensor.decode(facts or None, stream, p.size)
    entries, places = decoded.entries, decoded.places
    if places is None:
        p.store = DenseStore(entries.reshape(p.shape), rest)
    elif sparse:
        p.store = SparseStore(p.shape, places, entries, rest)
    else:
        values, mask = rest.range(0, p.size), np.zeros(p.size, bool)
        values[places], mask[places] = entries, True
        p.store = DenseStore(values.reshape(p.shape), rest, mask.reshape(p.shape))
    return ledger.tensor_row(p.name, p.shape, decoded)


def _decode_buffer(name: str, buffer: np.ndarray, facts: Any, stream: tensor.Stream) -> dict[str, Any]:
    decoded = tensor.decode(facts, stream, buffer.size, buffer.dtype)
    if decoded.places is not None:
        raise ValueError(f"{name} is a buffer and takes no mask")
    buffer[...] = decoded.entries.reshape(buffer.shape)
    return ledger.tensor_row(name, buffer.shape, decoded, trained=False)
