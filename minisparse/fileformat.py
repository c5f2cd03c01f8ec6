"""The container of models (.msp) and checkpoints: a header, named sections of bytes, and what guards them.

    magic 4 | version 1 | sizes of the header 4 + 4 | its CRC-32 4 | header | sections, one after the other | digest 8

All integers are little endian; docs/FORMAT.md has the details. What is read from a file is hostile until
it is checked: nothing is allocated for a size before the size is known to be possible.
"""

import hashlib
import os
import re
import secrets
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minisparse import compact
from minisparse._core import arithmetic

MAGIC = b"MSP\xf5"
VERSION = 2
"""That is written; files of any before it are read too."""
PREFIX = struct.Struct("<4sBIII")
DIGEST = 8
HEADER_CAP = 1 << 24
"""Bytes of the header before it is coded, at most."""
MAX_BYTES = 1 << 32
"""Bytes of a file, unless its reader allows more."""


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


def read(path: str | Path, kind: str, max_bytes: int = MAX_BYTES) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(header, sections) of the container at `path`.

    Raises
    ------
    FileFormatError : it is no container of this kind, is damaged, has a newer version, or more than max_bytes.
    """
    return decode(read_bytes(path, max_bytes), kind, str(path))


def read_bytes(path: str | Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file; FileFormatError if they are more than max_bytes."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise FileFormatError(f"{path}: has {size} bytes, more than max_bytes={max_bytes}, which you may raise")
        return file.read(size)


def encode(
    kind: str, header: dict[str, Any], sections: dict[str, bytes | memoryview], version: int = VERSION
) -> bytes:
    """The bytes of a container; ValueError if the header is not plain JSON of at most 16 MiB."""
    contents = [bytes(content) for content in sections.values()]
    table = [[name, len(c), zlib.crc32(c)] for name, c in zip(sections, contents, strict=True)]
    text = compact.pack({"kind": kind, "sections": table, "header": header})
    if len(text) > HEADER_CAP:
        raise ValueError(f"header takes {len(text)} bytes, more than {HEADER_CAP}: move its arrays into sections")
    coded = _code(text)
    body = b"".join([PREFIX.pack(MAGIC, version, len(text), len(coded), zlib.crc32(coded)), coded, *contents])
    return body + _digest(body)


def decode(data: bytes, kind: str, name: str = "data") -> tuple[dict[str, Any], dict[str, bytes]]:
    """(header, sections) of a container's bytes; `name` is what errors call it."""
    head, start = _decode_head(data, name)
    stop = len(data) - DIGEST
    declared = sum(length for _, length, _ in head["sections"])
    if declared != stop - start:
        raise _error(name, "sections", start, f"{declared} bytes and the digest follow", f"{len(data) - start} bytes")
    sections = {}
    for section, length, checksum in head["sections"]:
        content = data[start : start + length]
        _expect_equal(name, f"section {section!r}", start, "CRC-32", checksum, zlib.crc32(content))
        sections[section] = content
        start += length
    digest = int.from_bytes(_digest(memoryview(data)[:stop]), "little")
    _expect_equal(name, "digest", stop, "BLAKE2b", int.from_bytes(data[stop:], "little"), digest)
    if head["kind"] != kind:
        raise FileFormatError(f"{name}: is a {head['kind'][:40]} and not a {kind}; give a file of that kind")
    return head["header"], sections


def _decode_head(data: bytes, name: str) -> tuple[dict[str, Any], int]:
    """The checked header, and where the sections start."""
    if data[:4] != MAGIC[: len(data)] or not data:
        raise FileFormatError(f"{name}: is no file of minisparse (those start with {MAGIC!r}); check the path")
    if len(data) < PREFIX.size + DIGEST:
        raise _error(name, "prefix", 0, f"at least {PREFIX.size + DIGEST} bytes", f"{len(data)}")
    _, version, size, coded_size, checksum = PREFIX.unpack_from(data)
    if not 1 <= version <= VERSION:
        raise FileFormatError(f"{name}: has format version {version}, this minisparse reads 1 to {VERSION}; update it")
    start = PREFIX.size + coded_size
    if start > len(data) - DIGEST:
        room = len(data) - PREFIX.size - DIGEST
        raise _error(name, "prefix", 9, f"a header of at most {room} bytes", f"{coded_size}")
    coded = data[PREFIX.size : start]
    _expect_equal(name, "header", PREFIX.size, "CRC-32", checksum, zlib.crc32(coded))
    try:
        head = compact.unpack(_uncode(coded, size))
    except ValueError as error:
        raise _error(name, "header", PREFIX.size, "values in their shortest form", str(error)) from error
    if not _is_head(head):
        raise _error(name, "header", PREFIX.size, "a kind, sections and content", str(head)[:80])
    return head, start


def _code(text: bytes) -> bytes:
    """The header as it is stored: coded if that makes it shorter, but not so short that reading it would take long."""
    coded = arithmetic.encode(np.frombuffer(text, np.uint8).astype(np.uint32), 8, 1).tobytes()
    return coded if len(coded) < len(text) <= _longest(len(coded)) else text


def _uncode(coded: bytes, size: int) -> bytes:
    """The header of `size` bytes; ValueError unless `_code` made of it what is given."""
    if not len(coded) <= size <= min(_longest(len(coded)), HEADER_CAP):
        raise ValueError(f"{len(coded)} bytes announce {size}")
    if len(coded) == size:
        text = coded
    else:
        text = arithmetic.decode(np.frombuffer(coded, np.uint8), 8, 1, size).astype(np.uint8).tobytes()
    if _code(text) != coded:
        raise ValueError("it could be shorter")
    return text


def _longest(coded_size: int) -> int:
    """Bytes that a coded header may stand for."""
    return 1024 + 64 * coded_size


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


def _expect_equal(name: str, part: str, offset: int, what: str, stored: int, computed: int) -> None:
    if stored != computed:
        raise _error(name, part, offset, f"{what} {stored:x}", f"{computed:x}")


def _error(name: str, part: str, offset: int, expected: str, found: str) -> FileFormatError:
    return FileFormatError(
        f"{name}: {part} at byte {offset} is damaged or cut short (expected {expected}, found {found}); "
        "copy or write it again"
    )


def _is_head(head: Any) -> bool:
    """Whether it is {"kind": text, "sections": [[unique name, size, CRC-32], ...], "header": {...}}."""
    if not isinstance(head, dict) or list(head) != ["kind", "sections", "header"]:
        return False
    if not isinstance(head["kind"], str) or not isinstance(head["header"], dict):
        return False
    sections = head["sections"]
    rows = isinstance(sections, list) and all(isinstance(row, list) and len(row) == 3 for row in sections)
    if not rows or not all(isinstance(section, str) and is_size(n) and is_size(crc) for section, n, crc in sections):
        return False
    return len({section for section, *_ in sections}) == len(sections)


def is_size(value: Any) -> bool:
    """Whether a value of a header is an integer >= 0."""
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
