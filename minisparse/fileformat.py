"""The container of models (.msp) and checkpoints: a JSON header, named sections of bytes, a CRC-32.

    magic 4 | version 1 | header size 4 | header, deflated | sections, one after the other | CRC-32 4

All integers are little endian; docs/FORMAT.md has the details. What is read from a file is hostile until
it is checked: nothing is allocated for a size before the size is known to be possible.
"""

import json
import math
import os
import re
import secrets
import struct
import zlib
from pathlib import Path
from typing import Any

MAGIC = b"MSP\xf5"
VERSION = 1
PREFIX = struct.Struct("<4sBI")
CHECKSUM = struct.Struct("<I")
HEADER_CAP = 1 << 24
"""Bytes of the inflated header, at most."""

VOCABULARY = (
    b'"norm":["GroupNorm",{"groups":8,"channels":["Concat",{"body":["AvgPool2d",{"kernel":2}["Tanh",{}'
    b'"shortcut":["PaddedShortcut",{"outputs":32}],"block1":["Residual",{"body":"dropout":["Dropout",{"p":0.3}],'
    b'"pool":["GlobalAvgPool",{}],"norm2":["BatchNorm",{"channels":16}],"relu2":["ReLU",{}],'
    b'"stride":2,"padding":1,"bias":false,"gain":2.0}],"conv1":["Conv2d",{"inputs":3,"outputs":16,"kernel":5}],'
    b'"pool1":["MaxPool2d",{"kernel":2}],"flatten":["Flatten",{}],"fc1":["Linear",{"inputs":784,"outputs":300}],'
    b'"relu1":["ReLU",{}],"fc2":["Linear",{"inputs":300,"outputs":100}],"fc3":["Linear",{"inputs":100,"outputs":10}]}],'
    b'"input":[3,32,32],"seed":0},"parameters":{"conv1.weight":{"mask":["bitmap",{}],"bytes":[0,'
    b'"bias":{"values":["codebook",{}],"bytes":[0,7]},"fc1.weight":{"rest":1.0,"mask":["gaps",{"width":3}],'
    b'"values":["codebook",{}],"bytes":[{"kind":"checkpoint"{"kind":"model","sections":[["parameters",0],["buffers",0]],'
    b'"header":{"model":{"name":"lenet-300-100","net":["Sequential",{"layers":{'
)
"""Deflate's preset dictionary in version 1: what headers are likely to say, the likeliest last."""


class FileFormatError(ValueError):
    """A file that is not what it should be."""


def write(path: str | Path, kind: str, header: dict[str, Any], sections: dict[str, bytes | memoryview]) -> int:
    """Put a container in place of the file at `path` in one step; the number of bytes written.

    Parameters
    ----------
    kind : "model", "checkpoint", ...
    header : plain JSON values without NaN or infinities; members keep their order
    """
    data = encode(kind, header, sections)
    write_atomically(path, data)
    return len(data)


def read(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(header, sections) of the container at `path`.

    Raises
    ------
    FileFormatError : it is no container of this kind, is damaged, or has a newer version.
    """
    return decode(Path(path).read_bytes(), kind, str(path))


def encode(kind: str, header: dict[str, Any], sections: dict[str, bytes | memoryview]) -> bytes:
    """The bytes of a container; ValueError if the header is not plain JSON of at most 16 MiB."""
    lengths = [[name, memoryview(content).nbytes] for name, content in sections.items()]
    head = {"kind": kind, "sections": lengths, "header": header}
    try:
        text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"header must hold plain JSON values: {error}") from error
    if len(text) > HEADER_CAP:
        raise ValueError(f"header takes {len(text)} bytes, more than {HEADER_CAP}: move its arrays into sections")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, VOCABULARY)
    packed = deflate.compress(text) + deflate.flush()
    body = b"".join([PREFIX.pack(MAGIC, VERSION, len(packed)), packed, *sections.values()])
    return body + CHECKSUM.pack(zlib.crc32(body))


def decode(data: bytes, kind: str, name: str = "data") -> tuple[dict[str, Any], dict[str, bytes]]:
    """(header, sections) of a container's bytes; `name` is what errors call it."""
    head, start = _decode_head(data, name)
    if head["kind"] != kind:
        raise FileFormatError(f"{name}: is a {str(head['kind'])[:40]} and not a {kind}; give a file of that kind")
    stop = len(data) - CHECKSUM.size
    if sum(length for _, length in head["sections"]) != stop - start:
        raise FileFormatError(f"{name}: its sections do not add up to the file's {len(data)} bytes; write it again")
    sections = {}
    for section, length in head["sections"]:
        sections[section] = data[start : start + length]
        start += length
    return head["header"], sections


def _decode_head(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    """The checked header, and where the sections start."""
    if data[:4] != MAGIC[: len(data)] or not data:
        raise FileFormatError(f"{name}: is no file of minisparse (those start with {MAGIC!r}); check the path")
    if len(data) < PREFIX.size + CHECKSUM.size:
        raise FileFormatError(f"{name}: is cut short at {len(data)} bytes; copy or write it again")
    _, version, size = PREFIX.unpack_from(data)
    if version != VERSION:
        raise FileFormatError(f"{name}: has format version {version}, this minisparse reads {VERSION}; update it")
    stop = len(data) - CHECKSUM.size
    stored, computed = CHECKSUM.unpack_from(data, stop)[0], zlib.crc32(memoryview(data)[:stop])
    if stored != computed:
        raise FileFormatError(
            f"{name}: is damaged or cut short (its CRC-32 says {stored:08x}, its {len(data)} bytes give "
            f"{computed:08x}); copy or write it again"
        )
    if size > stop - PREFIX.size:
        raise FileFormatError(f"{name}: declares a header of {size} bytes in a file of {len(data)}; write it again")
    head = _parse(_inflate(data[PREFIX.size : PREFIX.size + size], name), name)
    if not _is_head(head):
        raise FileFormatError(f"{name}: its header lacks a kind, sections or content; write it again")
    return head, PREFIX.size + size


def _inflate(packed: bytes, name: str) -> bytes:
    inflate = zlib.decompressobj(-15, VOCABULARY)
    try:
        text = inflate.decompress(packed, HEADER_CAP)
    except zlib.error as error:
        raise FileFormatError(f"{name}: its header cannot be inflated ({error}); write it again") from error
    if not inflate.eof or inflate.unused_data:
        raise FileFormatError(f"{name}: its header is incomplete or above {HEADER_CAP} bytes; write it again")
    return text


def _parse(text: bytes, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name}: its header is not plain JSON ({error}); write it again") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) != len(members):
        raise ValueError("an object names a member twice")
    return dict(members)


def _is_head(head: Any) -> bool:
    """Whether it is {"kind": text, "sections": [[unique name, size], ...], "header": {...}}."""
    if not isinstance(head, dict) or list(head) != ["kind", "sections", "header"]:
        return False
    if not isinstance(head["kind"], str) or not isinstance(head["header"], dict):
        return False
    sections = head["sections"]
    pairs = isinstance(sections, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in sections)
    if not pairs or not all(isinstance(section, str) and is_size(length) for section, length in sections):
        return False
    return len({section for section, _ in sections}) == len(sections)


def is_size(value: Any) -> bool:
    """Whether a value from JSON is an integer >= 0."""
    return type(value) is int and value >= 0


def write_atomically(path: str | Path, data: bytes) -> None:
    """Put `data` in place of the file at `path`: readers see the old file or the new one, also after a crash.

    A failure leaves the old file as it was. Temporary files that a crash left for this path are removed.

    Raises
    ------
    ValueError : the folder does not exist, or `path` is a folder.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written: there is no folder {path.parent}; create it or choose another")
    if path.is_dir():
        raise ValueError(f"{path} cannot be written: it is a folder; name a file")
    leftover = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.tmp")
    for entry in path.parent.iterdir():
        if leftover.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
