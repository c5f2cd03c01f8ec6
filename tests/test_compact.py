"""Values in one form: what comes back is what went in, and nothing else is read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import compact

NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text() | st.sampled_from(compact.WORDS),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=9),
    max_leaves=12,
)


def same(a, b):
    """Equal in value and kind, members in order; -0.0 is not 0.0, and True is not 1."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@given(JSON)
def test_values_come_back(value):
    data = compact.pack(value)
    assert same(compact.unpack(data), value)


@given(st.binary(max_size=40))
def test_what_is_read_is_what_would_be_written(data):
    try:
        value = compact.unpack(data)
    except ValueError:
        return
    assert compact.pack(value) == data


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"), (127, "7f"), (128, "e38001"), (-1, "e400"), (-129, "e48001"), (2**63 - 1, "e3" + "ff" * 8 + "7f"),
        (None, "e0"), (False, "e1"), (True, "e2"), (1.5, "e5000000000000f83f"), (-0.0, "e50000000000000080"),
        ("kind", "80"), ("", "e600"), ("ß", "e602c39f"), (["a", "a", "b", "a"], "f4e60161e900e60162e900"),
        ([], "f0"), ([0] * 7, "f7" + "00" * 7), ([0] * 8, "e708" + "00" * 8), ({}, "f8"),
        ({"kind": {"x": 1}}, "f980f9e6017801"),
    ],
)  # fmt: skip
def test_values_are_written_as_specified(value, data):
    assert compact.pack(value).hex() == data


@pytest.mark.parametrize(
    "data",
    [
        "", "ff", "0000", "e37f", "e30080", "e3" + "ff" * 9 + "01", "e5000000000000f07f", "e5000000000000f87f",
        "e60161" + "61", "e602ff61", "e6046b696e64", "e900", "f2e60161e901", "f2e60161e60161", "e700", "e70100",
        "e7ffffffff7f", "e8ffffffff7f", "f900" + "00", "fa80008000", "ea", "df", "f180" + "00", "e60561",
    ],
)  # fmt: skip
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError):
        compact.unpack(bytes.fromhex(data))


def test_words_are_few_and_different():
    assert len(compact.WORDS) == len(set(compact.WORDS)) <= 96


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"", {1: 2}, 2**63, -(2**63), "\ud800", object()])
def test_what_is_no_plain_value_is_refused(value):
    with pytest.raises(ValueError):
        compact.pack({"x": value})


def test_nesting_is_bounded_either_way():
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match="100 levels"):
        compact.pack(deep)
    with pytest.raises(ValueError, match="100 levels"):
        compact.unpack(b"\xf1" * 100_000 + b"\0")
