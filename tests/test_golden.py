"""Golden files: read for ever, to the bit, on every backend; any damage to them is noticed."""

import hashlib
import os
import random
import subprocess
import sys
import tracemalloc
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from minisparse import _core, compact, fileformat
from minisparse.compressed import CompressedModel, compress, verify
from minisparse.fileformat import FileFormatError

FOLDER = Path(__file__).with_name("fixtures")
spec = spec_from_file_location("make", FOLDER / "make.py")
make = module_from_spec(spec)
spec.loader.exec_module(make)

NAMES = list(make.MODELS)
CAP = 1 << 14
"""Values that a damaged file may describe in these tests."""
MOST = 64 * CAP + (3 << 20)
"""Bytes that reading it may take: 64 a value, and 3 MiB for the coder's counts and whatever does not grow."""


def golden(name):
    return make.path(name).read_bytes()


def facts(model):
    """All that a model is, as bytes."""
    parts = [repr(model.config())]
    for p in model.parameters.values():
        mask = None if p.mask is None else p.mask.tobytes()
        parts += [p.name, p.shape, p.rest_scale, mask, p.value().tobytes(), p.rest().tobytes()]
    return [*parts, *(b.tobytes() for b in model.buffers.values())]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_read_to_the_bit_and_written_again(name):
    build, codecs = make.MODELS[name]
    model, data = build(), golden(name)
    loaded = CompressedModel(data)
    assert facts(loaded.model()) == facts(model)
    assert sum(row["bytes"] for row in loaded.ledger()) == len(data) == make.path(name).stat().st_size
    assert compress(model, codecs, make.version(name)).data == data


def test_they_use_every_codec():
    used = {
        word
        for name in NAMES
        for row in CompressedModel(golden(name)).ledger()
        for word in (row["codec"] or "").split()
    }
    assert used >= {"raw", "split", "codebook", "arithmetic", "chain", "gaps", "bitmap", "adaptive", "multiples"}
    assert len(NAMES) == len(list(FOLDER.glob("*.msp"))) == 24


@pytest.mark.parametrize("name", NAMES)
def test_verify_takes_the_one_encoding_of_a_model_and_no_other(name):
    data, canonical = golden(name), compress(make.MODELS[name][0](), version=make.version(name)).data
    if data == canonical:
        assert verify(make.path(name)).data == data
    else:
        with pytest.raises(FileFormatError, match=f"{make.path(name)}: is whole, but not the one encoding"):
            verify(make.path(name))


def test_the_other_backend_reads_and_writes_the_same_bits():
    other = "reference" if _core.BACKEND == "compiled" else "compiled"
    code = "import test_golden; print(test_golden.everything())"
    environment = os.environ | {
        "MINISPARSE_BACKEND": other,
        "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), *sys.path]),
    }
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if other == "compiled" and "ImportError" in answer.stderr:
        pytest.skip("the compiled kernels are not built")
    assert answer.stdout.split()[-1:] == [everything()], answer.stderr


def everything():
    """A hash of what all golden files hold, and of the files of their models."""
    total = hashlib.sha256()
    for name in NAMES:
        total.update(repr(facts(CompressedModel(golden(name)).model())).encode())
        total.update(compress(make.MODELS[name][0]()).data)
    return total.hexdigest()


def refused(data):
    """Whether a file is refused in the one way there is; any other exception is a failure."""
    try:
        CompressedModel(data, max_values=CAP)
    except FileFormatError:
        return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_and_every_truncation_is_refused(name):
    data = golden(name)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(flipped)), f"bit {bit} flipped"
    for length in range(len(data)):
        assert refused(data[:length]), f"cut to {length} bytes"


def edited(data, rng):
    """The data after one to three random edits."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 4, 8, 40])
        edit = rng.randrange(6)
        if edit == 0:
            data[place : place + length] = rng.randbytes(length)
        elif edit == 1:
            data[place:place] = rng.randbytes(length)
        elif edit == 2:
            del data[place : place + length]
        elif edit == 3:
            data[place : place + length] = bytes([rng.choice([0, 255])]) * length
        elif edit == 4:
            data[place:place] = data[rng.randrange(len(data) + 1) :][:length]
        else:
            data[place:] = golden(rng.choice(NAMES))[place:]
    return bytes(data)


@pytest.mark.parametrize("number", [1000, pytest.param(50_000, marks=pytest.mark.deep)])
@pytest.mark.parametrize("name", NAMES)
def test_random_edits_are_refused(name, number):
    data, rng = golden(name), random.Random(name)
    whole = {golden(other) for other in NAMES}
    for _ in range(number):
        damaged = edited(data, rng)
        assert damaged in whole or refused(damaged), damaged.hex()


def resealed(data, rng):
    """The file with something in it changed, and all checksums, sizes and the digest right again."""
    head, start = fileformat._decode_head(data, "data")
    contents = []
    for _, length, _ in head["sections"]:
        contents.append(data[start : start + length])
        start += length
    where = rng.randrange(3)
    if where == 0:
        i = rng.randrange(2)
        contents[i] = edited(contents[i], rng)
    head["sections"] = [
        [name, len(content), fileformat.zlib.crc32(content)]
        for (name, *_), content in zip(head["sections"], contents, strict=True)
    ]
    if where == 1:
        change(head["header"], rng)
    try:
        text = compact.pack(head)
    except ValueError:
        return data
    if where == 2:
        text = edited(text, rng)
    coded = fileformat._code(text)
    prefix = fileformat.PREFIX.pack(fileformat.MAGIC, data[4], len(text), len(coded), fileformat.zlib.crc32(coded))
    body = b"".join([prefix, coded, *contents])
    return body + fileformat._digest(body)


def change(value, rng):
    """Change something inside a list or object."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return
        place = rng.choice(places)
        inner = value[place]
        if not isinstance(inner, list | dict) or rng.random() < 0.2:
            break
        value = inner
    if rng.random() < 0.1:
        del value[place]
    elif isinstance(inner, int) and rng.random() < 0.8:
        value[place] = inner + rng.choice([-1, 1, 7, 2**14, 2**31, 2**62, -(2**40), -2 * inner])
    else:
        words = [rng.choice(compact.WORDS), "", None, True, 0.5, 1e300, 0, 3, [], {}, ["gaps", {"width": 3}]]
        value[place] = rng.choice(words)


@pytest.mark.parametrize("number", [2500, pytest.param(50_000, marks=pytest.mark.deep)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_resealed_mutation_is_refused_or_read_within_the_cap(name, number):
    data, rng = golden(name), random.Random(name)
    accepted = 0
    for i in range(number):
        damaged = resealed(data, rng)
        if i % 10:
            accepted += not refused(damaged)
            continue
        tracemalloc.start()
        accepted += not refused(damaged)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST, f"{peak} bytes for {damaged.hex()}"
    # names, seeds and weights are free to change
    assert 0 < accepted < number


def test_an_unknown_version_is_named(tmp_path):
    data = bytearray(golden("v2-split"))
    data[4] = 3
    with pytest.raises(FileFormatError, match="format version 3, this minisparse reads 1 to 2; update it"):
        CompressedModel(bytes(data))
