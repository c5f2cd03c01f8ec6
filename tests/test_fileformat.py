"""The container: exact, refused whenever anything is off, replaced in one step."""

import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import fileformat
from minisparse.fileformat import FileFormatError

HEADER = {"layers": {"z": 1, "a": 2}, "rate": 0.1, "name": "β"}
SECTIONS = {"one": b"\0\1\2", "none": b"", "two": memoryview(b"abc")}
NUMBERS = st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.msp"
    fileformat.write(path, "model", HEADER, SECTIONS)
    return path


def container(head, body=b"", tail=b""):
    """A container with any text as its header, `tail` behind its deflated form, and a correct checksum."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=fileformat.VOCABULARY)
    packed = deflate.compress(head) + deflate.flush() + tail
    data = fileformat.MAGIC + struct.pack("<BI", 1, len(packed)) + packed + body
    return data + struct.pack("<I", zlib.crc32(data))


def test_write_gives_the_size_and_read_gives_everything_back_in_order(path, tmp_path):
    size = fileformat.write(tmp_path / "b.msp", "model", HEADER, SECTIONS)
    assert size == len((tmp_path / "b.msp").read_bytes()) and (tmp_path / "b.msp").read_bytes() == path.read_bytes()
    header, sections = fileformat.read(path, "model")
    assert header == HEADER and list(header["layers"]) == ["z", "a"]
    assert sections == {"one": b"\0\1\2", "none": b"", "two": b"abc"} and list(sections) == list(SECTIONS)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.dictionaries(st.text(), st.binary(max_size=9), max_size=4))
def test_any_header_and_sections_come_back(header, sections):
    data = fileformat.encode("checkpoint", header, sections)
    assert fileformat.decode(data, "checkpoint") == (header, sections)
    assert fileformat.encode("checkpoint", header, sections) == data


def test_every_flipped_bit_is_refused(path):
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FileFormatError):
            fileformat.decode(bytes(flipped), "model")


def test_every_truncation_and_extension_is_refused(path):
    data = path.read_bytes()
    for length in range(len(data)):
        with pytest.raises(FileFormatError):
            fileformat.decode(data[:length], "model")
    for extra in (b"\0", b"\n", data):
        with pytest.raises(FileFormatError):
            fileformat.decode(data + extra, "model")


@given(st.binary(max_size=80))
def test_garbage_is_refused(data):
    for start in (b"", fileformat.MAGIC + b"\1"):
        with pytest.raises(FileFormatError):
            fileformat.decode(start + data, "model")


def test_errors_name_the_file_what_is_wrong_and_the_remedy(path):
    data = path.read_bytes()
    cases = {
        "no file of minisparse.*check the path": b"PK\3\4" + data,
        "version 2, this minisparse reads 1; update": data[:4] + b"\2" + data[5:],
        "damaged or cut short.*copy or write it again": data[:-1],
    }
    for pattern, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"{path}: .*{pattern}"):
            fileformat.read(path, "model")
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=f"{path}: is a model and not a checkpoint"):
        fileformat.read(path, "checkpoint")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"kind":"model","sections":[]}',
        b'{"kind":"model","sections":[],"header":[]}',
        b'{"kind":1,"sections":[],"header":{}}',
        b'{"kind":"model","sections":{},"header":{}}',
        b'{"kind":"model","sections":[["a",-1],["b",4]],"header":{}}',
        b'{"kind":"model","sections":[["a",3.0]],"header":{}}',
        b'{"kind":"model","sections":[["a",true],["b",2]],"header":{}}',
        b'{"kind":"model","sections":[["a",1],["a",2]],"header":{}}',
        b'{"kind":"model","sections":[["a",2]],"header":{}}',
        b'{"kind":"model","sections":[["a",4]],"header":{}}',
        b'{"kind":"model","sections":[["a",99999999999999999999]],"header":{}}',
        b'{"kind":"model","sections":[["a"]],"header":{}}',
        b'{"kind":"model","sections":[3],"header":{}}',
        b'{"kind":"model","sections":[["a",3]],"header":{"x":NaN}}',
        b'{"kind":"model","sections":[["a",3]],"header":{"x":-Infinity}}',
        b'{"kind":"model","sections":[["a",3]],"header":{"x":1e999}}',
        b'{"kind":"model","sections":[["a",3]],"header":{"x":1,"x":2}}',
        b'{"kind":"model","sections":[["a",3]],"header":{"x":' + b"1" * 5000 + b"}}",
    ],
)
def test_headers_that_are_not_as_specified_are_refused(head):
    with pytest.raises(FileFormatError):
        fileformat.decode(container(head, b"abc"), "model")


def test_the_container_of_these_tests_is_read():
    head = b'{"kind":"model","sections":[["a",3]],"header":{"x":1}}'
    assert fileformat.decode(container(head, b"abc"), "model") == ({"x": 1}, {"a": b"abc"})


def test_bytes_behind_the_deflated_header_are_refused():
    with pytest.raises(FileFormatError, match="header is incomplete"):
        fileformat.decode(container(b'{"kind":"model","sections":[],"header":{}}', tail=b"\0"), "model")


def test_a_header_that_inflates_beyond_the_cap_is_refused():
    bomb = b'{"kind":"model","sections":[],"header":{}}' + b" " * fileformat.HEADER_CAP
    assert len(container(bomb)) < 20_000
    with pytest.raises(FileFormatError, match="above 16777216 bytes"):
        fileformat.decode(container(bomb), "model")


def test_a_declared_header_beyond_the_file_is_refused():
    data = fileformat.MAGIC + struct.pack("<BI", 1, 2**32 - 1)
    with pytest.raises(FileFormatError, match="declares a header of 4294967295 bytes"):
        fileformat.decode(data + struct.pack("<I", zlib.crc32(data)), "model")


def nested(depth):
    inner = {}
    for _ in range(depth):
        inner = {"x": inner}
    return inner


@pytest.mark.parametrize("x", [float("nan"), float("inf"), {1, 2}, b"", nested(5000)])
def test_a_header_that_is_not_plain_json_is_refused_on_writing(x, tmp_path):
    with pytest.raises(ValueError):
        fileformat.write(tmp_path / "a.msp", "model", {"x": x}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(path, step, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    old = path.read_bytes()
    if step == "write":
        data = memoryview(b"x" * 100)[::2]  # refused by the file only after the temporary exists
        with pytest.raises(BufferError):
            fileformat.write_atomically(path, data)
    else:
        monkeypatch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            fileformat.write_atomically(path, b"new")
    assert path.read_bytes() == old and [p.name for p in path.parent.iterdir()] == ["model.msp"]


def test_the_data_is_on_disk_before_it_replaces_the_old_file(path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (steps.append(name), original(*a))[1])
    fileformat.write_atomically(path, b"new")
    assert steps == (["fsync", "replace", "fsync"] if os.name == "posix" else ["fsync", "replace"])
    assert path.read_bytes() == b"new"


def test_leftovers_of_this_path_are_swept_and_no_others(path):
    folder = path.parent
    mine, others = folder / ".model.msp.0123abcd.tmp", [".model.msp.tmp", ".model.msp.b.0123abcd.tmp", "model.msp.tmp"]
    for name in [mine.name, *others]:
        (folder / name).write_bytes(b"left over")
    fileformat.write_atomically(path, b"new")
    assert sorted(p.name for p in folder.iterdir()) == sorted(["model.msp", *others])


def test_a_link_stays_a_link_and_modes_follow_the_umask(path):
    link = path.parent / "latest.msp"
    link.symlink_to(path)
    fileformat.write_atomically(link, b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    (path.parent / "plain").write_bytes(b"")
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


def test_the_specification_quotes_the_preset_dictionary_and_the_magic():
    text = Path(__file__).parents[1].joinpath("docs", "FORMAT.md").read_text()
    quoted = "".join(line.strip() for line in text.split("## The preset dictionary")[1].splitlines()[4:])
    assert quoted.encode() == fileformat.VOCABULARY
    assert f"{len(quoted)} bytes, CRC-32 `{zlib.crc32(quoted.encode()):08x}`" in text
    assert fileformat.MAGIC.hex(" ").upper() in text


def test_headers_of_small_networks_stay_small():
    layers = {f"fc{i}": ["Linear", {"inputs": 784, "outputs": 300 - i}] for i in (1, 2, 3)}
    header = {"model": {"name": "lenet-300-100", "net": ["Sequential", {"layers": layers}], "input": [784], "seed": 1}}
    assert len(json.dumps(header)) > 200 and len(fileformat.encode("model", header, {})) < 110
