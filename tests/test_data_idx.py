"""The IDX reader."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from minisparse.data import idx

arrays = nps.arrays(np.uint8, nps.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@given(arrays)
def test_what_is_encoded_is_parsed_again(array):
    parsed = idx.parse(idx.encode(array))
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array, strict=True)


@given(arrays)
def test_an_encoded_file_is_laid_out_as_the_format_says(array):
    plain = gzip.decompress(idx.encode(array))
    assert plain == struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_every_truncation_is_refused():
    content = idx.encode(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    for length in range(len(content)):
        with pytest.raises(ValueError):
            idx.parse(content[:length])


@given(st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(data):
    array = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    content = bytearray(idx.encode(array))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    try:
        parsed = idx.parse(bytes(content))
    except ValueError:
        return
    np.testing.assert_array_equal(parsed, array, strict=True)


@given(st.binary(max_size=40))
def test_any_compressed_bytes_are_an_array_or_a_value_error(plain):
    try:
        parsed = idx.parse(gzip.compress(plain))
    except ValueError:
        return
    assert idx.encode(parsed) == idx.encode(idx.parse(idx.encode(parsed)))


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (b"", "starts with"),
        (b"\x00\x00\x08", "starts with"),
        (b"\x00\x01\x08\x01\x00\x00\x00\x01a", "starts with"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01a", "starts with"),
        (b"\x00\x00\x08\x00a", "0 dimensions"),
        (b"\x00\x00\x08\x02\x00\x00\x00\x01", "2 dimensions"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02a", "2 values"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01ab", "1 values"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "values"),
        (b"\x00\x00\x08\x41" + b"\x00" * 260, "dimensions"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_its_reason(plain, reason):
    with pytest.raises(ValueError, match=reason):
        idx.parse(gzip.compress(plain))


def test_bytes_after_the_compressed_file_are_refused():
    content = idx.encode(np.zeros(3, np.uint8))
    with pytest.raises(ValueError):
        idx.parse(content + b"more")
    with pytest.raises(ValueError):
        idx.parse(content + gzip.compress(b"more"))


def test_images_and_labels_of_different_length_are_not_joined():
    with pytest.raises(ValueError, match="3 images"):
        idx.join([np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.uint8)])


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros((), np.uint8)])
def test_only_unsigned_bytes_are_encoded(array):
    with pytest.raises(ValueError, match="uint8"):
        idx.encode(array)
