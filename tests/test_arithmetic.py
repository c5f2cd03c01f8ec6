"""Arithmetic coding: as short as its model says, which is close to the entropy; one form only."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import arithmetic as kernel
from minisparse.codecs import Adaptive, Arithmetic, Gaps, tensor
from minisparse.codecs.gaps import choose_width


def kt_bits(bits):
    """-log2 of the probability that Krichevsky and Trofimov's estimate gives to bits of one context, step by step."""
    counts, total = [0, 0], 0.0
    for bit in bits:
        total -= math.log2((counts[bit] + 0.5) / (sum(counts) + 1))
        counts[bit] += 1
    return total


def model_bits(symbols, width, order):
    """Bits that the model gives to symbols: each bit in the context of those above it and of the symbol before."""
    contexts = {}
    for i, symbol in enumerate(symbols):
        text = format(symbol, f"0{width}b")
        before = symbols[i - 1] if order and i else 0
        for j, bit in enumerate(text):
            contexts.setdefault((before, text[:j]), []).append(int(bit))
    return sum(map(kt_bits, contexts.values()))


def mask_bits(mask, columns):
    """The same of a mask: each bit in the context of the bit lengths of z and c."""
    contexts = {}
    for i, bit in enumerate(mask):
        earlier = mask[:i]
        z = i - 1 - max((j for j in range(i) if earlier[j]), default=-1)
        c = sum(mask[j] for j in range(i % columns, i, columns))
        contexts.setdefault((len(f"{z:b}") * (z > 0), len(f"{c:b}") * (c > 0)), []).append(int(bit))
    return sum(map(kt_bits, contexts.values()))


@given(st.lists(st.integers(0, 15) | st.sampled_from([0, 1]), max_size=300), st.integers(4, 8), st.integers(0, 1))
def test_data_are_as_long_as_the_model_says(symbols, width, order):
    data = kernel.encode(np.array(symbols, np.uint32), width, order)
    assert 8 * len(data) <= model_bits(symbols, width, order) + 9
    np.testing.assert_array_equal(kernel.decode(data, width, order, len(symbols)), symbols)


@given(st.lists(st.booleans() | st.sampled_from([False] * 8), max_size=120), st.integers(1, 9))
def test_masks_are_as_long_as_the_model_says(mask, columns):
    columns = min(columns, max(len(mask), 1))
    places = np.flatnonzero(np.array(mask, bool))
    data = kernel.encode_places(places, columns, len(mask))
    assert 8 * len(data) <= mask_bits(mask, columns) + 9
    np.testing.assert_array_equal(kernel.decode_places(data, len(places), columns, len(mask)), places)


SOURCES = {
    "uniform": [1] * 15,
    "skewed": [300, 100, 40, 20, 10, 5, 3, 2, 1, 1, 1, 1, 1, 1, 1],
    "nearly one symbol": [997, 1, 1, 1],
    "two symbols": [19, 1],
}


@pytest.mark.parametrize("name", SOURCES)
def test_symbols_cost_their_entropy_within_one_percent_and_sixteen_bytes(name):
    odds = np.array(SOURCES[name], float)
    symbols = np.random.default_rng(0).choice(len(odds), 100_000, p=odds / odds.sum()).astype(np.uint32)
    data = Arithmetic().encode(symbols)
    # far below Huffman's least, a bit a symbol, where one symbol is most of them
    assert len(data) <= 1.01 * tensor.entropy(symbols) + 16
    np.testing.assert_array_equal(Arithmetic().decode(data, len(symbols)), symbols)


@pytest.mark.parametrize("density", [0.5, 0.05, 0.005, 0.0005, 0.0])
def test_a_mask_without_structure_costs_its_entropy_within_one_percent_and_little_more(density):
    n, columns = 400_000, 800
    mask = np.random.default_rng(0).random(n) < density
    data = Adaptive(columns).encode(mask)
    entropy = tensor.entropy(mask)
    # contexts that turn out alike: each costs log2(n) / 2 + 1 bits to learn; z and c of at most 13 bits meet in few
    assert len(data) <= 1.01 * entropy + 16 + 100 * (math.log2(n) / 2 + 1) / 8
    np.testing.assert_array_equal(Adaptive(columns).places(data, n), np.flatnonzero(mask))


def test_a_mask_of_busy_columns_costs_less_than_its_gaps():
    share = np.where(np.arange(784) % 28 > 20, 0.0, np.linspace(0, 0.1, 784))
    mask = (np.random.default_rng(0).random((300, 784)) < share).ravel()
    adaptive = len(Adaptive(784).encode(mask))
    assert adaptive < 0.97 * tensor.floors(np.zeros(mask.size, np.float32), mask)[0]
    assert adaptive < 0.95 * len(Gaps(choose_width(mask)).encode(mask))


def test_symbols_that_follow_from_the_one_before_cost_next_to_nothing_in_order_one():
    symbols = (np.arange(30_000) * 7 % 200).astype(np.uint32)
    assert len(Arithmetic(order=1).encode(symbols)) < 0.07 * len(Arithmetic().encode(symbols))


@given(st.binary(max_size=12), st.integers(1, 8), st.integers(0, 1), st.integers(0, 60))
def test_data_that_are_read_are_those_that_would_be_written(data, width, order, count):
    array = np.frombuffer(data, np.uint8)
    try:
        symbols = kernel.decode(array, width, order, count)
    except ValueError:
        return
    assert kernel.encode(symbols, width, order).tobytes() == data


@given(st.binary(max_size=12), st.integers(1, 9), st.integers(0, 60), st.integers(0, 60))
def test_places_that_are_read_are_those_that_would_be_written(data, columns, kept, count):
    columns, kept = min(columns, max(count, 1)), min(kept, count)
    try:
        places = kernel.decode_places(np.frombuffer(data, np.uint8), kept, columns, count)
    except ValueError:
        return
    assert len(places) == kept and kernel.encode_places(places, columns, count).tobytes() == data


def test_every_short_data_is_the_code_of_one_vector_or_refused():
    """All data of up to two bytes, against all vectors of eight bits."""
    codes = Counter()
    for number in range(256):
        symbols = np.array([int(bit) for bit in f"{number:08b}"], np.uint32)
        codes[kernel.encode(symbols, 1, 0).tobytes()] += 1
    assert max(codes.values()) == 1 and len(codes) == 256
    short = [b"", *(bytes([a]) for a in range(256)), *(bytes([a, b]) for a in range(256) for b in range(256))]
    accepted = set()
    for data in short:
        try:
            kernel.decode(np.frombuffer(data, np.uint8), 1, 0, 8)
        except ValueError:
            continue
        accepted.add(data)
    assert accepted == {code for code in codes if len(code) <= 2}


@pytest.mark.parametrize("tail", [b"", b"\xff", b"\0\1", b"\xff" * 9])
def test_data_outside_the_interval_are_refused_at_once(tail):
    array = np.frombuffer(b"\xff" * 8 + tail, np.uint8)
    for read in (lambda: kernel.decode(array, 1, 0, 100), lambda: kernel.decode_places(array, 90, 9, 100)):
        with pytest.raises(ValueError, match="eight bytes of 255"):
            read()


def test_a_carry_runs_through_bytes_of_255():
    """Symbols whose code comes as close to the next one as can be: a search over short vectors finds carries."""
    generator = np.random.default_rng(0)
    for _ in range(2000):
        symbols = np.full(generator.integers(1, 200), 1, np.uint32)
        symbols[generator.integers(0, len(symbols), 3)] = 0
        data = kernel.encode(symbols, 1, 0)
        np.testing.assert_array_equal(kernel.decode(data, 1, 0, len(symbols)), symbols)


def test_the_specification_has_its_examples():
    symbols = np.array([0, 0, 1, 0, 3, 0, 0, 0], np.uint32)
    assert kernel.encode(symbols, 2, 0).tobytes() == bytes.fromhex("1B99")
    assert kernel.encode_places(np.array([2, 5, 8]), 3, 12).tobytes() == bytes.fromhex("2C20")


@pytest.mark.parametrize(("symbols", "order"), [([65_536], 0), ([256], 1), ([2**32 - 1, 0], 0)])
def test_symbols_of_too_many_bits_are_refused(symbols, order):
    with pytest.raises(ValueError, match="more than"):
        Arithmetic(order).encode(np.array(symbols, np.uint32))
