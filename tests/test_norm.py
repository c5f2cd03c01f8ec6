"""Mean, variance and sums of long rows: blocks in the row's own precision lose nothing that a user would see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import norm_ref

norm = pytest.importorskip("minisparse._core.norm", exc_type=ImportError)

SIZES = st.one_of(st.integers(1, 300), st.integers(2000, 9000))
NUMBERS = st.floats(2.0**-20, 2.0**20, width=32) | st.floats(-(2.0**20), -(2.0**-20), width=32)


@given(NUMBERS, SIZES)
def test_a_constant_channel_has_its_value_as_mean_and_no_variance(value, n):
    mean, var = norm.statistics(np.full((1, n), value, np.float32))
    assert np.float32(mean[0]) == np.float32(value)
    assert 0 <= var[0] <= (1e-9 * value) ** 2


@given(st.integers(0, 2**32), SIZES, st.sampled_from([0, 1, 1e3, 1e5]), st.sampled_from([1e-2, 1, 1e3]))
def test_mean_and_variance_far_from_zero(seed, n, level, spread):
    x = (np.random.default_rng(seed).normal(size=(2, n)) * spread + level).astype(np.float32)
    mean, var = norm.statistics(x)
    exact, spread = x.mean(axis=1, dtype=np.float64), x.std(axis=1, dtype=np.float64)
    # of the spread, not of the level
    assert (abs(mean - exact) <= 1e-6 * spread + 1e-9 * abs(exact)).all()
    np.testing.assert_allclose(var, spread**2, rtol=1e-5, atol=1e-12 * level**2)


@given(st.integers(0, 2**32), SIZES, st.booleans())
def test_sums_beyond_float32_are_taken_in_float64(seed, n, rectified):
    x, dy = np.random.default_rng(seed).normal(size=(2, 2, n)).astype(np.float32)
    dy *= np.float32(3e37)
    normal = np.tile(np.float32([0.1, 1.5, 1.0, 0.2]), (2, 1))
    found, expected = (kernel.backward(dy, x, normal, True, rectified) for kernel in (norm, norm_ref))
    terms = abs(dy).astype(np.float64).sum(axis=1)
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert np.isfinite(ours).all()
        assert (abs(ours - theirs) <= 1e-5 * terms).all()


@given(st.integers(0, 2**32), st.integers(1, 70), st.booleans())
def test_pooled_sums_beyond_float32_are_taken_in_float64(seed, images, batch):
    generator = np.random.default_rng(seed)
    x, dy = (generator.normal(size=(2, n, 6, images)).astype(np.float32) for n in (5, 2))
    dy = dy[:, :, :3] * np.float32(3e37)
    winner = generator.integers(5, size=dy.shape).astype(np.uint8)
    normal = np.tile(np.float32([0.1, 9.0, 1.0, 0.2]), (2, 1))
    found, expected = (kernel.backward_pooled(dy, winner, x, normal, batch) for kernel in (norm, norm_ref))
    terms = abs(dy).astype(np.float64).sum(axis=(1, 2, 3))
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert np.isfinite(ours).all()
        assert (abs(ours - theirs) <= 1e-4 * terms).all()


def test_what_is_not_finite_shows():
    x = np.ones((3, 3000), np.float32)
    x[0, 2500], x[1, 10], x[2, 2999] = np.nan, np.inf, -np.inf
    mean, var = norm.statistics(x)
    np.testing.assert_array_equal(mean, [np.nan, np.inf, -np.inf])
    assert np.isnan(var).all()
