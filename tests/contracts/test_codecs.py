"""Every codec keeps the contract, by existing."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from minisparse import codecs
from minisparse.codecs import Codec, Raw
from minisparse.codecs.raw import DTYPES
from minisparse.testing import check_codec

NAMES = [info.name for info in pkgutil.iter_modules(codecs.__path__)]
OURS = {name: cls for name, cls in Codec.registry.items() if cls.__module__.startswith("minisparse.")}


@pytest.mark.parametrize("name", OURS)
def test_codec_keeps_the_contract(name):
    examples = OURS[name].examples()
    assert len(examples) > 2
    for codec, array in examples:
        check_codec(codec, array)


@pytest.mark.parametrize("name", NAMES)
def test_every_codec_is_imported_with_the_package(name):
    module = importlib.import_module(f"minisparse.codecs.{name}")
    classes = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    assert all(OURS[c.name] is c for c in classes if issubclass(c, Codec) and not inspect.isabstract(c))


def test_every_codec_has_examples_of_zero_and_one_entries_or_more():
    for cls in OURS.values():
        lengths = [len(array) for _, array in cls.examples()]
        assert 0 in lengths and max(lengths) > 2


class _Fake(Raw):
    name = "fake"


class Forgetful(_Fake):
    name = "forgetful"

    def encode(self, array):
        return super().encode(np.abs(array))


class Greedy(_Fake):
    name = "greedy"

    def decode(self, data, count):
        return super().decode(data[: 4 * count], count)


class Crashing(_Fake):
    name = "crashing"

    def decode(self, data, count):
        if len(data) < 4:
            raise IndexError("list index out of range")
        return super().decode(data, count)


class View(_Fake):
    name = "view"

    def decode(self, data, count):
        super().decode(data, count)
        return np.frombuffer(data, np.float32)


@pytest.mark.parametrize("cls", [Forgetful, Greedy, Crashing, View])
def test_contract_finds_a_broken_codec(cls):
    with pytest.raises(AssertionError):
        check_codec(cls(), np.array([-0.0, 1.0], np.float32))


@pytest.mark.parametrize("config", [None, [], ["raw"], ["zip", {}], ["raw", {"level": 9}], ["raw", {"dtype": []}]])
def test_a_configuration_that_describes_no_codec_is_refused(config):
    with pytest.raises(ValueError):
        Codec.from_config(config)


@pytest.mark.parametrize("width", [0, 17, True, 4.0, "4"])
@pytest.mark.parametrize("name", ["gaps", "bitpack"])
def test_a_width_that_is_no_integer_in_range_is_refused(name, width):
    with pytest.raises(ValueError, match="width="):
        Codec.from_config([name, {"width": width}])


@pytest.mark.parametrize("name", OURS)
def test_encode_refuses_other_dtypes_and_matrices(name):
    codec, array = OURS[name].examples()[0]
    for wrong in (array.astype("complex64"), array.reshape(1, -1), [1, 2]):
        with pytest.raises(ValueError, match="array must be a vector"):
            codec.encode(wrong)


def test_raw_holds_each_dtype_little_endian():
    for dtype in DTYPES:
        little = np.dtype(dtype).newbyteorder("<")
        assert Raw(dtype).encode(np.array([1, 2], dtype)) == np.array([1, 2], little).tobytes()
    assert Raw("uint16").encode(np.array([258], np.uint16)) == b"\x02\x01"
