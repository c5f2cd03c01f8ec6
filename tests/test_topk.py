"""Exact selection: k entries, whatever ties there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minisparse._core import topk as kernel

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)


@st.composite
def scores_and_k(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = 32 if dtype == np.float32 else 64
    values = draw(
        st.sampled_from(
            [
                st.floats(allow_nan=False, width=width),
                st.sampled_from([0.0, -0.0, 1.0, -1.0]),  # ties
                st.sampled_from([np.inf, -np.inf, 0.0, -0.0, float(np.finfo(dtype).smallest_subnormal)]),
                st.just(2.5),
            ]
        )
    )
    scores = draw(st.lists(SHAPES.flatmap(lambda shape: arrays.arrays(dtype, shape, elements=values)), max_size=4))
    return scores, draw(st.integers(0, sum(s.size for s in scores)))


def by_sorting(scores, k):
    """The first k places in the order of falling score, then of rising index."""
    flat = [float(score) for array in scores for score in array.ravel()]
    first = set(sorted(range(len(flat)), key=lambda i: (-flat[i], i))[:k])
    return [i in first for i in range(len(flat))]


@given(scores_and_k())
def test_the_k_largest_are_kept_and_ties_go_to_the_lower_index(case):
    scores, k = case
    masks = kernel.topk(scores, k)
    assert [m.shape for m in masks] == [s.shape for s in scores] and all(m.dtype == bool for m in masks)
    flat = [bool(kept) for mask in masks for kept in mask.ravel()]
    assert sum(flat) == k
    assert flat == by_sorting(scores, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_scores_of_one_digit_apart(dtype):
    # neighbouring floats share all but their last bits: every digit of the radix decides once
    scores = [np.nextafter(np.full(300, 1, dtype), dtype(2)) + np.arange(300, dtype=dtype) * np.finfo(dtype).eps]
    scores.append(-scores[0][::-1].copy())
    for k in (1, 299, 300, 301, 599):
        assert kernel.topk(scores, k)[0].tolist() + kernel.topk(scores, k)[1].tolist() == by_sorting(scores, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [lambda a: a[::2], np.asfortranarray, lambda a: a[:, ::-1], lambda a: a.T])
def test_the_order_of_indices_is_that_of_rows_whatever_the_layout(dtype, layout):
    scores = layout(np.arange(24, dtype=dtype).reshape(6, 4) % 5)
    assert kernel.topk([scores], 7)[0].ravel().tolist() == by_sorting([scores], 7)


def test_ties_across_arrays_go_to_the_first():
    masks = kernel.topk([np.zeros(2, np.float32), np.zeros((2, 2), np.float32)], 3)
    assert masks[0].tolist() == [True, True] and masks[1].tolist() == [[True, False], [False, False]]


def test_minus_zero_ties_with_zero():
    assert kernel.topk([np.array([-0.0, 0.0, -0.0], np.float32)], 1)[0].tolist() == [True, False, False]


def test_nothing_to_choose_from():
    assert kernel.topk([], 0) == []
    assert [m.shape for m in kernel.topk([np.zeros((0, 3))], 0)] == [(0, 3)]


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_that_is_nan_is_refused(k, dtype):
    with pytest.raises(ValueError, match="1 NaN"):
        kernel.topk([np.zeros(2, dtype), np.array([np.nan], dtype)], k)


@pytest.mark.parametrize("k", [-1, 5, 2**70])
def test_a_k_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match="k="):
        kernel.topk([np.zeros(4)], k)


def test_a_fractional_k_is_refused():
    with pytest.raises(TypeError):
        kernel.topk([np.zeros(4)], 2.5)


@pytest.mark.parametrize("dtypes", [[int], [np.float64, np.float32], [np.float16], [">f4"], [bool]])
def test_scores_that_are_no_floats_of_one_kind_are_refused(dtypes):
    with pytest.raises(ValueError, match="float32"):
        kernel.topk([np.zeros(2, dtype) for dtype in dtypes], 1)


@pytest.mark.parametrize("kind", ["normal", "ties", "sorted", "mostly zero", "periodic", "infinite"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_long_arrays_keep_what_a_stable_sort_would(kind, dtype):
    generator = np.random.default_rng(0)
    n = 20_011
    noise = generator.normal(size=n)
    made = {
        "normal": noise,
        "ties": generator.integers(0, 9, n),
        "sorted": np.sort(noise),
        "mostly zero": np.where(generator.random(n) < 0.95, 0, noise),
        "periodic": np.where(np.arange(n) % 32 == 7, noise, -9),
        "infinite": np.where(np.arange(n) % 3 == 0, noise, generator.choice([np.inf, -np.inf, -0.0], n)),
    }
    x = made[kind].astype(dtype)
    order = np.argsort(-x, kind="stable")
    for k in (1, 200, 1999, 9000, n - 1):
        keep = np.concatenate(kernel.topk([x[:7001], x[7001:]], k))
        assert np.array_equal(np.flatnonzero(keep), np.sort(order[:k]))
