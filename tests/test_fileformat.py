"""The container: exact, refused whenever anything is off, replaced in one step."""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import compact, fileformat
from minisparse.fileformat import FileFormatError

HEADER = {"layers": {"z": 1, "a": 2}, "rate": 0.1, "name": "β"}
SECTIONS = {"one": b"\0\1\2", "none": b"", "two": memoryview(b"abc")}
VALUES = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.msp"
    fileformat.write(path, "model", HEADER, SECTIONS)
    return path


def container(text, body=b"", size=None, code=fileformat._code):
    """A container with any bytes as its header, and a correct checksum and digest."""
    coded = code(text)
    size = len(text) if size is None else size
    data = struct.pack("<4sBIII", fileformat.MAGIC, 1, size, len(coded), zlib.crc32(coded)) + coded + body
    return data + hashlib.blake2b(data, digest_size=8).digest()


def head_of(sections, header=None, kind="model"):
    return {"kind": kind, "sections": sections, "header": {} if header is None else header}


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
        "version 3, this minisparse reads 1 to 2; update": data[:4] + b"\3" + data[5:],
        r"digest at byte \d+ is damaged or cut short \(expected BLAKE2b .*copy or write it again": data[:-1] + b"\0",
        r"section 'one' at byte \d+ .*expected CRC-32 854897f, found": data.replace(b"\0\1\2", b"\0\1\3"),
        r"section 'two' at byte \d+ .*expected CRC-32": data.replace(b"abc", b"abd"),
        r"sections at byte \d+ .*expected 6 bytes and the digest follow, found 13 bytes": data[:-1],
        r"header at byte 17 .*expected CRC-32": data[:17] + b"\xff" + data[18:],
        r"prefix at byte 9 .*expected a header of at most": data[:9] + b"\xff\xff" + data[11:],
    }
    for pattern, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"{path}: .*{pattern}"):
            fileformat.read(path, "model")
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=f"{path}: is a model and not a checkpoint"):
        fileformat.read(path, "checkpoint")


CRC = zlib.crc32(b"abc")
HEADS = [
    [],
    3,
    {"kind": "model", "sections": []},
    head_of([], []),
    head_of([], kind=1),
    {"sections": [], "kind": "model", "header": {}},
    head_of({}),
    head_of([["a", -1, 0], ["b", 4, 0]]),
    head_of([["a", 3.0, CRC]]),
    head_of([["a", True, 0], ["b", 2, 0]]),
    head_of([["a", 1, zlib.crc32(b"a")], ["a", 2, zlib.crc32(b"bc")]]),
    head_of([["a", 2, zlib.crc32(b"ab")]]),
    head_of([["a", 4, CRC]]),
    head_of([["a", 2**62, CRC]]),
    head_of([["a", 3]]),
    head_of([["a", 3, CRC + 1]]),
    head_of([["a", 3, CRC, 0]]),
    head_of([3]),
]


@pytest.mark.parametrize("head", HEADS)
def test_headers_that_are_not_as_specified_are_refused(head):
    with pytest.raises(FileFormatError):
        fileformat.decode(container(compact.pack(head), b"abc"), "model")


def test_the_container_of_these_tests_is_read():
    text = compact.pack(head_of([["a", 3, CRC]], {"x": 1}))
    assert fileformat.decode(container(text, b"abc"), "model") == ({"x": 1}, {"a": b"abc"})


LONG = compact.pack(head_of([], {"x": list(range(100)) * 9}))


@pytest.mark.parametrize(
    "data",
    [
        container(b""),
        container(LONG + b"\0"),
        container(LONG[:-1]),
        container(LONG, code=bytes),  # would be shorter if it were coded
        container(LONG, size=len(LONG) - 1),
        container(LONG, size=len(LONG) + 1),
        container(LONG, code=lambda text: fileformat._code(text) + b"\0"),
        container(LONG, code=lambda text: fileformat._code(text) + b"\1"),
        container(compact.pack(head_of([]))[:-1] + b"\xe8\0"),  # an empty object has a shorter form
    ],
)
def test_a_header_has_one_form(data):
    assert fileformat.decode(container(LONG), "model")[0]["x"][100] == 0
    with pytest.raises(FileFormatError, match="header at byte 17"):
        fileformat.decode(data, "model")


def test_a_header_that_announces_more_than_it_can_hold_is_refused_at_once():
    bomb = container(compact.pack(head_of([], {"x": "a" * 100_000})), code=lambda text: b"\0" * 40, size=100_000)
    with pytest.raises(FileFormatError, match="40 bytes announce 100000"):
        fileformat.decode(bomb, "model")


def test_a_header_above_the_cap_is_refused_on_writing_and_reading(monkeypatch):
    monkeypatch.setattr(fileformat, "HEADER_CAP", 1000)
    with pytest.raises(ValueError, match="more than 1000: move its arrays into sections"):
        fileformat.encode("model", {"x": "a" * 1000}, {})
    with pytest.raises(FileFormatError, match="bytes announce"):
        fileformat.decode(container(compact.pack(head_of([], {"x": "a" * 1000}))), "model")


def test_a_header_that_codes_extremely_well_is_stored_as_it_is():
    header = {"x": "a" * 100_000}
    data = fileformat.encode("model", header, {})
    assert len(data) > 100_000 and fileformat.decode(data, "model") == (header, {})


def test_a_declared_header_beyond_the_file_is_refused():
    data = struct.pack("<4sBIII", fileformat.MAGIC, 1, 2**32 - 1, 2**32 - 1, 0)
    with pytest.raises(FileFormatError, match="at most 0 bytes, found 4294967295"):
        fileformat.decode(data + hashlib.blake2b(data, digest_size=8).digest(), "model")


def test_a_file_above_the_readers_cap_is_not_read(path):
    size = path.stat().st_size
    assert fileformat.read(path, "model", size)[0] == HEADER
    with pytest.raises(FileFormatError, match=f"has {size} bytes, more than max_bytes={size - 1}"):
        fileformat.read(path, "model", size - 1)


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


def test_the_specification_quotes_the_words_and_the_magic():
    text = Path(__file__).parents[1].joinpath("docs", "FORMAT.md").read_text()
    quoted = text.split("## The words")[1].split("\n\n")[2].split()
    assert quoted == compact.WORDS
    assert fileformat.MAGIC.hex(" ").upper() in text


def test_headers_of_small_networks_stay_small():
    layers = {f"fc{i}": ["Linear", {"inputs": 784, "outputs": 300 - i}] for i in (1, 2, 3)}
    header = {"model": {"name": "lenet-300-100", "net": ["Sequential", {"layers": layers}], "input": [784], "seed": 1}}
    assert len(fileformat.encode("model", header, {})) < 110
