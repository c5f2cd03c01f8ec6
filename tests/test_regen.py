"""Products with a regenerated weight are those with the weight materialised, bit for bit the same tile."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import BACKEND, rng
from minisparse._core import regen as kernel
from minisparse._core.pattern import Pattern
from minisparse.params import Init, Parameter


def random_pattern(generator, o, i, density):
    mask = generator.random((o, i)) < density
    return Pattern(np.concatenate([[0], np.cumsum(mask.sum(1))]), np.nonzero(mask)[1], i), mask


def materialised(kind, key, scale, factor, mask, values):
    count = mask.size
    w = np.full(count, scale, np.float32) if kind == "constant" else getattr(rng, kind)(key, 0, count, scale)
    w = (w * np.float32(factor)).reshape(mask.shape).astype(values.dtype)
    w[mask] = values
    return w


KINDS = st.sampled_from(["constant", "uniform", "normal"])
SIZES = st.integers(0, 140)


@given(KINDS, st.integers(0, 2**64 - 1), SIZES, SIZES, SIZES, st.sampled_from([np.float32, np.float64]))
def test_products_are_those_of_the_materialised_weight(kind, key, o, i, n, dtype):
    generator = np.random.default_rng([o, i, n])
    pattern, mask = random_pattern(generator, o, i, 0.2)
    values, x, dy = (generator.normal(size=s).astype(dtype) for s in (len(pattern.indices), (i, n), (o, n)))
    w = materialised(kind, key, 0.3, 0.7, mask, values).astype(np.float64)
    eps = np.finfo(dtype).eps
    y, dx = (getattr(kernel, f)(kind, key, 0.3, 0.7, pattern, values, a) for f, a in (("matmul", x), ("rmatmul", dy)))
    assert y.dtype == dx.dtype == dtype and y.shape == (o, n) and dx.shape == (i, n)
    assert (np.abs(y - w @ x) <= max(i, 1) * eps * (np.abs(w) @ np.abs(x)) * 1.01).all()
    assert (np.abs(dx - w.T @ dy) <= max(o, 1) * eps * (np.abs(w).T @ np.abs(dy)) * 1.01).all()


@pytest.mark.parametrize("kind", ["constant", "uniform", "normal"])
def test_the_product_with_the_identity_is_the_weight_to_the_bit(kind):
    pattern, mask = random_pattern(np.random.default_rng(0), 70, 150, 0.1)
    values = np.arange(len(pattern.indices), dtype=np.float32)
    w = materialised(kind, 5, 0.3, 0.7, mask, values)
    np.testing.assert_array_equal(kernel.matmul(kind, 5, 0.3, 0.7, pattern, values, np.eye(150, dtype=np.float32)), w)
    np.testing.assert_array_equal(
        kernel.rmatmul(kind, 5, 0.3, 0.7, pattern, values, np.eye(70, dtype=np.float32)), w.T
    )


def test_columns_that_do_not_rise_are_refused():
    pattern = Pattern(np.array([0, 2]), np.array([1, 0]), 3)
    with pytest.raises(ValueError, match="rise"):
        kernel.matmul("normal", 1, 1.0, 1.0, pattern, np.ones(2), np.ones((3, 2)))


def test_indices_of_64_bits_are_refused():
    pattern = Pattern(np.array([0, 0]), np.array([], int), 2**31)
    with pytest.raises(ValueError, match="64 bits"):
        kernel.matmul("normal", 1, 1.0, 1.0, pattern, np.ones(0), np.ones((1, 2)))


def test_an_unknown_kind_is_refused():
    pattern = Pattern(np.array([0, 1]), np.array([1]), 3)
    with pytest.raises(ValueError, match="kind"):
        kernel.matmul("gamma", 1, 1.0, 1.0, pattern, np.ones(1), np.ones((3, 2)))


def test_nothing_of_the_size_of_the_weight_is_held():
    p = Parameter((8000, 1000), Init("normal", 1.0))
    store = p.store
    store.rest = Init("normal", 1.0)
    p.keep(np.arange(8_000_000).reshape(8000, 1000) % 100 == 0)
    p.to_sparse()
    x, dy = np.ones((1000, 16), np.float32), np.ones((8000, 16), np.float32)
    p.store.matmul(x)
    tracemalloc.start()
    p.store.matmul(x)
    p.store.rmatmul(dy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 8_000_000 / 2


THREADS = """
import hashlib
import numpy as np
from minisparse._core import regen
from minisparse._core.pattern import Pattern
mask = np.random.default_rng(0).random((301, 257)) < 0.2
pattern = Pattern(np.concatenate([[0], np.cumsum(mask.sum(1))]), np.nonzero(mask)[1], 257)
values, x, dy = (np.random.default_rng(1).normal(size=s) for s in (mask.sum(), (257, 70), (301, 70)))
for function, operand in ((regen.matmul, x), (regen.rmatmul, dy)):
    result = function("normal", 3, 1.0, 1.0, pattern, values, operand)
    print(hashlib.sha256(result.tobytes()).hexdigest())
"""


@pytest.mark.skipif(BACKEND == "reference", reason="the twins have no threads")
def test_results_are_the_same_whatever_the_number_of_threads():
    def digest(threads):
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        return subprocess.run([sys.executable, "-c", THREADS], env=environment, capture_output=True, check=True).stdout

    assert digest("1") == digest("2") == digest("3")


@given(KINDS, st.integers(0, 2**64 - 1), st.integers(1, 9), st.integers(1, 700), st.data())
def test_candidates_are_what_one_step_from_rest_moves_far_enough(kind, key, o, i, data):
    generator, dtype = np.random.default_rng([o, i]), data.draw(st.sampled_from([np.float32, np.float64]))
    pattern, mask = random_pattern(generator, o, i, 0.1)
    gradient = generator.integers(-3, 4, size=(o, i)).astype(dtype)  # many ties
    first, threshold = data.draw(st.integers(0, o)), data.draw(st.sampled_from([0.0, 0.25, 0.3, np.inf]))
    place = data.draw(st.integers(0, o * i))
    rest = materialised(kind, key, 0.5, 0.7, np.zeros_like(mask), np.zeros(0, dtype))
    score = np.abs((rest - dtype(0.25) * gradient) - rest)
    flat = np.arange(o * i).reshape(o, i)
    passes = ((score > dtype(threshold)) | ((score == dtype(threshold)) & (flat < place))) & ~mask & (flat >= first * i)
    found = kernel.candidates(kind, key, 0.5, 0.7, pattern, gradient[first:], first, 0.25, threshold, place)
    for ours, expected in zip(found, (flat, gradient, score), strict=True):
        np.testing.assert_array_equal(ours, expected[passes])
        assert ours.dtype == expected.dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": 1}, "first=1"),
        ({"first": -1}, "first=-1"),
        ({"threshold": -1.0}, "threshold=-1.0"),
        ({"threshold": np.nan}, "threshold=nan"),
        ({"rate": np.inf}, "rate=inf"),
        ({"gradient": np.zeros((2, 4), np.float32)}, "gradient has shape"),
        ({"gradient": np.full((2, 3), np.nan, np.float32)}, "5 NaN"),
    ],
)
def test_tiles_that_do_not_fit_and_nan_off_the_pattern_are_refused(change, message):
    pattern = Pattern(np.array([0, 1, 1]), np.array([1]), 3)
    call = {"gradient": np.zeros((2, 3), np.float32), "first": 0, "rate": 0.1, "threshold": 0.0, "place": 0}
    with pytest.raises(ValueError, match=message):
        kernel.candidates("normal", 1, 1.0, 1.0, pattern, *(call | change).values())
