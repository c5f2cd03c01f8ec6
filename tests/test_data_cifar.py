"""The CIFAR reader: takes pixels and labels out of a pickle and runs nothing in it."""

import ast
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import minisparse.data
from minisparse.data import cifar


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


def numbers(values) -> bytes:
    """A list in pieces of up to 1,000, as Python 2 wrote it."""
    values = list(values)
    pieces = [values[first : first + 1000] for first in range(0, len(values), 1000)]
    return b"]" + b"".join(b"(" + b"".join(b"K" + bytes([v]) for v in piece) + b"e" for piece in pieces)


def array(pixels: np.ndarray, dtype: bytes = b"u1", fortran: bytes = b"\x89") -> bytes:
    """A NumPy array as Python 2 wrote it."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85" + text(b"b") + b"\x87Rq\t"
    shape = b"".join(b"M" + struct.pack("<H", n) for n in pixels.shape)
    kind = b"cnumpy\ndtype\nq\n" + text(dtype) + b"K\x00K\x01\x87Rq\x0b(K\x03" + text(b"|") + b"NNN"
    kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    values = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    return empty + b"(K\x01" + shape + b"\x86" + kind + fortran + values + b"tb"


def table(*items: tuple[bytes, bytes]) -> bytes:
    return b"\x80\x02}q\x01(" + b"".join(text(key) + value for key, value in items) + b"u."


def batch(pixels: np.ndarray, labels, key: bytes = b"labels") -> bytes:
    """A batch file, its entries in the order of the official ones."""
    return table((b"batch_label", text(b"batch 1 of 1")), (key, numbers(labels)), (b"data", array(pixels)))


PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4) * 21
BATCH = batch(PIXELS, [2, 0, 9])


@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 8))), st.data())
def test_pixels_and_labels_are_those_that_were_written(pixels, data):
    labels = data.draw(st.lists(st.integers(0, 255), min_size=len(pixels), max_size=len(pixels)))
    x, y = cifar.parse(batch(pixels, labels))
    np.testing.assert_array_equal(x, pixels, strict=True)
    np.testing.assert_array_equal(y, np.array(labels, np.int64), strict=True)


def test_labels_in_many_pieces_stay_in_order():
    labels = np.arange(2500) % 251
    _, y = cifar.parse(batch(np.zeros((2500, 1), np.uint8), labels))
    np.testing.assert_array_equal(y, labels)


def test_python_reads_the_same_from_the_files_of_these_tests():
    loaded = pickle.loads(BATCH, encoding="latin1")
    np.testing.assert_array_equal(loaded["data"], PIXELS)
    assert loaded["labels"] == [2, 0, 9]


def test_fine_labels_are_taken_before_coarse_ones():
    coarse, fine = numbers([1, 1, 1]), numbers([7, 8, 9])
    content = table((b"coarse_labels", coarse), (b"fine_labels", fine), (b"data", array(PIXELS)))
    np.testing.assert_array_equal(cifar.parse(content)[1], [7, 8, 9])


def test_every_truncation_is_refused():
    for length in range(len(BATCH)):
        with pytest.raises(ValueError):
            cifar.parse(BATCH[:length])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the standard library's, of escapes in changed strings
@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_is_refused_or_still_gives_pixels_and_labels(data):
    content = bytearray(BATCH)
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        x, y = cifar.parse(bytes(content))
    except ValueError:
        return
    assert x.dtype == np.uint8 and x.size == 12 and y.shape == (len(x),)


@given(st.lists(st.sampled_from([op.code.encode("latin-1") for op in pickletools.opcodes]), max_size=12))
def test_any_instructions_in_any_order_are_refused_with_a_value_error(codes):
    with pytest.raises(ValueError):
        cifar.parse(b"\x80\x02" + b"".join(codes) + b"K\x01.")


class RunsACommand:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_in_a_file_is_refused_and_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    content = pickle.dumps({"data": RunsACommand(f"touch {trace}"), "labels": []}, protocol)
    with pytest.raises(ValueError, match="not a CIFAR batch"):
        cifar.parse(content)
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()


@pytest.mark.parametrize(
    "instructions",
    [
        b"cposix\nsystem\n" + text(b"touch TRACE") + b"\x85R",
        b"cbuiltins\neval\n" + text(b"open('TRACE', 'w')") + b"\x85R",
        b"cnumpy\nload\n" + text(b"TRACE") + b"\x85R",
        b"(S'touch TRACE'\niposix\nsystem\n",
        b"(cposix\nsystem\n" + text(b"touch TRACE") + b"o",
        b"cos\nsystem\n" + text(b"touch TRACE") + b"\x85\x81",
        text(b"os") + text(b"system") + b"\x93" + text(b"touch TRACE") + b"\x85R",
        text(b"posix system") + text(b"touch TRACE") + b"\x85R",
        b"cnumpy\ndtype\n" + text(b"touch TRACE") + b"\x85R",
    ],
)
def test_no_instruction_reaches_code(tmp_path, monkeypatch, instructions):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        cifar.parse(table((b"labels", numbers([1])), (b"data", instructions)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a CIFAR batch"),
        (b"not a pickle", "not a CIFAR batch"),
        (BATCH.replace(b"numpy.core.multiarray\n_reconstruct", b"posix\nsystem"), "instruction GLOBAL posix system"),
        (BATCH + b".", "nothing after"),
        (numbers([1]) + b".", "one dictionary"),
        (table((b"labels", numbers([1]))), "'data'"),
        (table((b"data", array(PIXELS))), "'labels'"),
        (batch(PIXELS, [1, 2]), "3 images but 2 labels"),
        (table((b"labels", b"](" + text(b"a") * 3 + b"e"), (b"data", array(PIXELS))), "whole numbers"),
        (table((b"labels", numbers([1] * 3)), (b"data", array(PIXELS, dtype=b"i1"))), "unsigned bytes"),
        (table((b"labels", numbers([1] * 3)), (b"data", array(PIXELS, fortran=b"\x88"))), "unsigned bytes"),
        (batch(PIXELS.reshape(3, 4)[:, :3], [1, 2, 3])[:-20] + b"u.", "not a CIFAR batch"),
        (table((b"labels", numbers([1] * 3)), (b"data", text(b"pixels"))), "'data'"),
    ],
)
def test_a_file_that_is_no_batch_is_refused_with_its_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        cifar.parse(content)


def test_the_data_package_neither_loads_pickles_nor_runs_text():
    for path in Path(minisparse.data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "")]
                assert not {"pickle", "_pickle", "marshal", "shelve"} & set(names), path
            assert getattr(node, "id", None) not in ("eval", "exec", "__import__"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert node.value.value is False, path
