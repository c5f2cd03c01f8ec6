"""Regeneration and named streams: the same numbers everywhere, for ever, and random enough."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import rng
from minisparse._core import rng as kernel

M = 2**32
KEY = 0x0123456789ABCDEF


def hash_of(key, i):
    """The definition once more, in Python's integers."""
    k = (key + 0x9E3779B97F4A7C15) % M**2
    k = (k ^ k >> 30) * 0xBF58476D1CE4E5B9 % M**2
    k = (k ^ k >> 27) * 0x94D049BB133111EB % M**2
    k ^= k >> 31
    x = (i % M * 0x9E3779B9 + i // M * 0x7FEB352D + k % M) % M
    x ^= x >> 16
    x = x * 0x85EBCA6B % M
    x ^= x >> 13
    x = (x + k // M + i // M * 0x846CA68B) % M
    x = x * 0xC2B2AE35 % M
    return x ^ x >> 16


def round_to_single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def normal_of(word, scale):
    # two float32 have an exact product in float64, so this rounds once
    return round_to_single((sum(word.to_bytes(4, "little")) - 510) * round_to_single(scale / math.sqrt(21845)))


def uniform_of(word, scale):
    return round_to_single((2 * (word >> 8) + 1 - 2**24) * round_to_single(scale * math.sqrt(3) / 2**24))


# Golden values: these never change, for a file holds a seed and not the numbers.

GOLDEN_BITS = [0x1F4D9C24, 0x61860FFE, 0xB91E344B, 0x4D321E89, 0xD23E8E59]
GOLDEN_FAR = [0x467DC9D9, 0xB08FD105, 0x5D7C9576]
GOLDEN_NORMAL = [0xBF35DDE1, 0xBD0A90AC, 0xBF117E4E, 0xBF3B101B]
GOLDEN_UNIFORM = [0xBF277BDC, 0xBE53256C, 0x3EC5DCCE, 0xBEAFFDB1]
GOLDEN_KEYS = [0x9C09BF85306200AC, 0x6F44B1F8B32BC092]
GOLDEN_PERMUTATION = [3, 5, 0, 4, 2, 1, 6, 7]


def test_golden_bits():
    assert kernel.bits(KEY, 0, 5).tolist() == GOLDEN_BITS
    assert kernel.bits_at(KEY, np.array([2**32 - 1, 2**32, 2**63 - 1])).tolist() == GOLDEN_FAR


def test_golden_floats():
    assert kernel.normal(KEY, 0, 4, 0.5).view(np.uint32).tolist() == GOLDEN_NORMAL
    assert kernel.uniform(KEY, 0, 4, 0.5).view(np.uint32).tolist() == GOLDEN_UNIFORM


def test_golden_streams():
    assert rng.key(0) == GOLDEN_KEYS[0] and rng.key(7, "init", "fc1.weight") == GOLDEN_KEYS[1]
    assert rng.Stream(0, "batches", 3).permutation(8).tolist() == GOLDEN_PERMUTATION


keys = st.integers(0, 2**64 - 1)
indices = st.integers(0, 2**63 - 1) | st.integers(0, 10) | st.integers(M - 3, M + 3)
scales = st.floats(1e-6, 1e3)


@given(keys, st.lists(indices, max_size=20), scales)
def test_every_value_is_its_definition(key, index, scale):
    words = [hash_of(key, i) for i in index]
    index = np.array(index, np.int64)
    assert kernel.bits_at(key, index).tolist() == words
    assert kernel.normal_at(key, index, scale).tolist() == [normal_of(w, scale) for w in words]
    assert kernel.uniform_at(key, index, scale).tolist() == [uniform_of(w, scale) for w in words]


@given(keys, indices, st.integers(0, 50), scales, st.randoms(use_true_random=False))
def test_any_indices_in_any_order_equal_slices_of_the_whole(key, start, count, scale, random):
    start = min(start, 2**63 - count)
    order = random.sample(range(count), count)
    index = np.array([start + i for i in order], np.int64)
    for name, scale_of in (("bits", ()), ("normal", (scale,)), ("uniform", (scale,))):
        whole = getattr(kernel, name)(key, start, count, *scale_of)
        assert whole[order].tobytes() == getattr(kernel, name + "_at")(key, index, *scale_of).tobytes()
        cut = random.randint(0, count)
        tiles = [
            getattr(kernel, name)(key, start, cut, *scale_of),
            getattr(kernel, name)(key, start + cut, count - cut, *scale_of),
        ]
        assert np.concatenate(tiles).tobytes() == whole.tobytes()


LAST = np.int64(2**63 - 1)


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 1), (2**64, 0, 1), (0, -1, 1), (0, 0, -1), (0, 2**63, 1), (0, LAST, np.int64(2))]
)
def test_a_range_that_does_not_exist_is_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        kernel.bits(*arguments)


def test_the_last_index_exists():
    assert kernel.bits(5, 2**63 - 1, 1).tolist() == [hash_of(5, 2**63 - 1)]
    assert len(kernel.bits(5, 2**63, 0)) == 0


NO_INDICES = [np.array([-1]), np.zeros((2, 2), np.int64), np.array([1.0]), np.array([1], np.int32)]


@pytest.mark.parametrize("index", NO_INDICES)
def test_an_index_that_does_not_exist_is_refused(index):
    with pytest.raises(ValueError, match="ind"):
        kernel.bits_at(0, index)


def test_a_fractional_position_is_refused():
    with pytest.raises(TypeError):
        kernel.bits(0, 1.5, 2)


# Randomness: DropBack's untracked weights are these numbers.

SHAPES = [(1, 4096), (10, 100), (64, 64), (100, 784), (512, 1024)]
SEEDS = [0, 1, 2**40, 2**64 - 1]


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("seed", SEEDS)
def test_mean_and_variance(kind, seed):
    n = 2**19
    values = getattr(kernel, kind)(seed, 0, n, 1.0).astype(np.float64)
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.var() - 1) < 0.02


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("lag", [1, 2, 64, 784])
def test_neighbours_are_uncorrelated(kind, lag):
    n = 2**18
    values = getattr(kernel, kind)(3, 0, n + lag, 1.0)
    assert abs(correlation(values[:-lag], values[lag:])) < 4 / math.sqrt(n)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_weight_matrix_has_the_singular_values_of_a_random_one(kind, shape):
    rows, columns = shape
    matrix = getattr(kernel, kind)(11, 0, rows * columns, 1.0).reshape(shape).astype(np.float64)
    top = math.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1])
    assert top < 1.1 * (math.sqrt(rows) + math.sqrt(columns))


@pytest.mark.parametrize("bit", range(64))
def test_keys_that_differ_in_one_bit_give_unrelated_numbers(bit):
    n = 2**14
    one, two = kernel.normal(42, 0, n, 1.0), kernel.normal(42 ^ 1 << bit, 0, n, 1.0)
    # two keys of one upper or one lower half, side by side or one a shifted copy of the other
    assert all(abs(correlation(one[lag:], two[: n - lag])) < 5 / math.sqrt(n - lag) for lag in (0, 1, 2, 100))


@pytest.mark.parametrize("key", [0, 42, 2**63, 0x9E3779B9, 0x9E3779B9 << 32])
def test_neighbouring_keys_give_unrelated_numbers(key):
    n = 2**18
    first = kernel.normal(key, 0, n, 1.0)
    for other in (key + 1, key + 2**32, key ^ 2**64 - 1, key + 0x9E3779B9):
        assert abs(correlation(first, kernel.normal(other, 0, n, 1.0))) < 4.5 / math.sqrt(n)


def test_indices_that_share_their_lower_half_give_unrelated_numbers():
    n = 2**18
    first = kernel.normal(42, 0, n, 1.0)
    for high in (1, 2, 2**15, 2**30):
        assert abs(correlation(first, kernel.normal(42, high * M, n, 1.0))) < 4.5 / math.sqrt(n)


def test_each_byte_of_a_word_is_uniform():
    words = kernel.bits(9, 0, 2**18).view(np.uint8).reshape(-1, 4)
    for byte in words.T:
        counts = np.bincount(byte, minlength=256)
        # chi-squared with 255 degrees of freedom: 5 standard deviations above its mean
        assert ((counts - 1024) ** 2 / 1024).sum() < 255 + 5 * math.sqrt(2 * 255)


# Streams


@given(st.integers(0, 2**63 - 1), st.integers(0, 300))
def test_a_permutation_holds_each_number_once(seed, count):
    assert sorted(rng.Stream(seed, "batches").permutation(count).tolist()) == list(range(count))


def test_permutations_are_uniform():
    stream = rng.Stream(1, "p")
    places = np.array([stream.permutation(4) for _ in range(2400)])
    counts = np.array([np.bincount(column, minlength=4) for column in places.T])
    assert np.abs(counts - 600).max() < 5 * math.sqrt(600)


@given(st.integers(1, 2**32), st.integers(0, 2**63 - 1))
def test_integers_lie_below_their_bound(high, seed):
    values = rng.Stream(seed).integers(high, 20)
    assert values.dtype == np.int64 and (values >= 0).all() and (values < high).all()


def test_uniform_lies_in_the_unit_interval():
    values = rng.Stream(0).uniform(10_000)
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 4 / math.sqrt(12 * 10_000)


def test_a_stream_read_in_parts_is_the_stream():
    whole, parts = rng.Stream(5, "x"), rng.Stream(5, "x")
    assert np.concatenate([parts.bits(3), parts.bits(0), parts.bits(7)]).tolist() == whole.bits(10).tolist()


NAMES = st.lists(st.text(max_size=5) | st.integers(0, 10), max_size=3)


@given(st.integers(0, 3), NAMES, st.integers(0, 3), NAMES)
def test_different_names_have_different_keys(seed, names, other_seed, others):
    same = (seed, names) == (other_seed, others)
    assert (rng.key(seed, *names) == rng.key(other_seed, *others)) == same


def test_a_number_is_no_digit_and_names_do_not_run_together():
    names = [(1,), ("1",), ("a", "b"), ("ab",), ("a", "b", ""), ()]
    assert len({rng.key(0, *n) for n in names}) == len(names)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        rng.key(seed)
