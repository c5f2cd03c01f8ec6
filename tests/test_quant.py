"""Fake quantisation, its gradients, and shared values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse._core import quant

REALS = st.lists(st.floats(-30, 30), min_size=1, max_size=40)
BITS = st.integers(2, 8)


def bounds(bits):
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


@given(REALS, st.sampled_from([0.25, 0.3, 1.0]), BITS)
def test_levels_are_integers_in_range_and_quantising_again_changes_nothing(values, step, bits):
    low, high = bounds(bits)
    x = np.array(values)
    q = quant.fake_quantise(x, step, low, high)
    level = np.rint(q / step)
    np.testing.assert_array_equal(q, level * step)
    assert low <= level.min() and level.max() <= high
    np.testing.assert_array_equal(quant.fake_quantise(q, step, low, high), q)
    inside = (x > low * step) & (x < high * step)
    # the products and quotients round once each
    assert (np.abs(q - x)[inside] <= step / 2 + 4 * np.finfo(float).eps * np.abs(x[inside])).all()


def test_halves_go_to_the_even_level_and_zeros_are_positive():
    x = np.array([-2.5, -1.5, -0.5, -0.1, -0.0, 0.0, 0.5, 1.5, 2.5])
    q = quant.fake_quantise(x, 1.0, -4, 4)
    assert q.tolist() == [-2, -2, 0, 0, 0, 0, 0, 2, 2] and not np.signbit(q[2:7]).any()


@given(REALS, BITS)
def test_a_range_of_both_signs_is_symmetric(values, bits):
    high = bounds(bits)[1]
    x = np.array(values, np.float32)
    q = quant.fake_quantise(x, 0.3, -high, high)
    np.testing.assert_array_equal(quant.fake_quantise(-x, 0.3, -high, high), -q)
    np.testing.assert_array_equal(quant.fake_quantise(4 * x, 1.2, -high, high), 4 * q)


def test_gradient_passes_inside_and_not_at_the_bounds():
    x = np.array([-9.0, -4.0, -3.9, 0.0, 2.9, 3.0, 7.0, np.nan, np.inf])
    dx, ds = quant.fake_quantise_backward(np.ones(9), x, 1.0, -4, 3)
    assert dx.tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert ds == pytest.approx(-4 - 4 - 0.1 + 0 + 0.1 + 3 + 3 + 0 + 3)
    assert np.isnan(quant.fake_quantise(x, 1.0, -4, 3)[7])


@given(REALS, st.floats(0.05, 2), BITS)
def test_step_gradient_is_the_slope_with_the_rounding_frozen(values, step, bits):
    low, high = bounds(bits)
    x = np.array(values)
    dy = np.cos(np.arange(len(x)))
    v = x / step
    h = 1e-6 * step
    if np.min(np.abs(v - low)) < 1e-3 or np.min(np.abs(v - high)) < 1e-3:
        return
    # s (clip(x / s) + c), c the rounding inside the range
    c = np.where((low < v) & (v < high), np.rint(v) - v, 0)
    up, down = ((s * (np.clip(x / s, low, high) + c) * dy).sum() for s in (step + h, step - h))
    assert quant.fake_quantise_backward(dy, x, step, low, high)[1] == pytest.approx((up - down) / (2 * h), abs=1e-5)


def test_results_do_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(0).normal(size=300_001).astype(np.float32)
    whole = quant.fake_quantise_backward(x, x, 0.1, -8, 7)
    parts = [x[first : first + 65_536] for first in range(0, len(x), 65_536)]
    dx, ds = zip(*(quant.fake_quantise_backward(part, part, 0.1, -8, 7) for part in parts), strict=True)
    np.testing.assert_array_equal(np.concatenate(dx), whole[0])
    assert np.cumsum(ds)[-1] == whole[1]


@pytest.mark.parametrize("size", [1, 70_001, 2**23 + 5])  # the last is too large for caches
def test_results_go_to_the_memory_that_is_given_and_to_no_other(size):
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    dy = x[::-1].copy()
    # begins at no multiple of 16 bytes; one entry more at either end
    memory = np.full(size + 3, 7, np.float32)
    for out in (memory[2:-1], x.copy()):
        assert quant.fake_quantise(x, 0.3, -8, 7, out) is out
        assert out.tobytes() == quant.fake_quantise(x, 0.3, -8, 7).tobytes()
    dx, ds = quant.fake_quantise_backward(dy, x, 0.3, -8, 7)
    own_dy, own_x = dy.copy(), x.copy()
    for of_dy, of_x, out in ((dy, x, memory[2:-1]), (own_dy, x, own_dy), (dy, own_x, own_x)):
        found, its_ds = quant.fake_quantise_backward(of_dy, of_x, 0.3, -8, 7, out)
        assert found is out and out.tobytes() == dx.tobytes() and its_ds == ds
    assert memory[:2].tolist() == [7, 7] and memory[-1] == 7


def test_memory_that_overlaps_an_operand_in_part_is_refused():
    memory = np.zeros(9, np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        quant.fake_quantise(memory[:-1], 1.0, -1, 1, memory[1:])
    with pytest.raises(ValueError, match="overlaps"):
        quant.fake_quantise_backward(memory[1:], np.zeros(8, np.float32), 1.0, -1, 1, memory[:-1])


@pytest.mark.parametrize("step", [0.0, -1.0, np.inf, np.nan, 1e-60, 1e60])
def test_a_step_that_is_no_positive_float_is_refused(step):
    with pytest.raises(ValueError, match="step"):
        quant.fake_quantise(np.zeros(2, np.float32), step, -1, 1)


@pytest.mark.parametrize("low, high", [(0, 0), (1, 2), (-2, -1), (-(2**21), 1), (0, 2**21)])
def test_a_range_without_zero_or_width_is_refused(low, high):
    with pytest.raises(ValueError, match="low"):
        quant.fake_quantise(np.zeros(2), 1.0, low, high)


@given(st.lists(st.integers(-400, 400), min_size=1), st.sets(st.integers(-300, 300), min_size=1, max_size=40))
def test_the_nearest_level_is_assigned_and_ties_go_to_the_lower(values, levels):
    x, codebook = np.array(values, float) / 2, np.array(sorted(levels), float)
    expected = np.abs(x[:, None] - codebook).argmin(axis=1)
    assert quant.assign(x, codebook).tolist() == expected.tolist()


def test_a_value_that_is_nan_has_no_nearest_level():
    with pytest.raises(ValueError, match="NaN"):
        quant.assign(np.array([np.nan]), np.zeros(1))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-99, 99)), max_size=60))
def test_centroid_sums_and_counts_are_those_of_the_members(pairs):
    index, x = np.array([i for i, _ in pairs], np.uint32), np.array([v for _, v in pairs], float)
    sums, counts = quant.centroid_sums(x, index, 7)
    assert counts.tolist() == [int((index == i).sum()) for i in range(7)]
    assert sums.tolist() == [x[index == i].sum() for i in range(7)]
