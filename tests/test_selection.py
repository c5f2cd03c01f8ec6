"""Selection from a stream is selection from everything at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.methods import selection
from minisparse.methods.selection import Above, Exact, quantile_step


def stream(score, pieces):
    """The scores with places from 5 on and gradients that name them, in pieces of a random order."""
    order = np.random.default_rng(pieces).permutation(len(score))
    for part in np.array_split(order, pieces):
        part = np.sort(part)
        yield 5 + part, part.astype(np.float32), score[part]


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(1, 9), st.data())
def test_the_largest_of_a_stream_are_those_of_a_sort_with_ties_to_the_lower_place(scores, pieces, data):
    score, k = np.array(scores, np.float32), data.draw(st.integers(0, len(scores)))
    before, selection.ROOM = selection.ROOM, 0
    try:
        choice = Exact(k)
        for place, gradient, part in stream(score, pieces):
            threshold, index = choice.bound(5)
            passes = (part > threshold) | ((part == threshold) & (place - 5 < index))
            choice.add(place[passes], gradient[passes], part[passes])
            choice.cut()
    finally:
        selection.ROOM = before
    place, gradient, found = choice.chosen()
    expected = np.sort(sorted(range(len(score)), key=lambda i: (-score[i], i))[:k]).astype(np.int64)
    np.testing.assert_array_equal(place, 5 + expected)
    np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_array_equal(found, score[expected])


def test_no_more_than_twice_k_and_some_room_waits(monkeypatch):
    monkeypatch.setattr(selection, "ROOM", 10)
    choice = Exact(20)
    for place in range(0, 4000, 8):
        choice.add(np.arange(place, place + 8), np.zeros(8), np.arange(place, place + 8, dtype=np.float64))
        assert sum(len(places) for places, _, _ in choice._waiting) <= 2 * 20 + 10
    assert choice.chosen()[0].tolist() == [*range(3980, 4000)]


def test_scores_over_a_threshold_are_all_chosen():
    choice = Above(2.0)
    for place, gradient, score in stream(np.array([1, 2, 3, 2.5, 0, 9], np.float32), 3):
        choice.add(place, gradient, score)
    assert choice.chosen()[0].tolist() == [7, 8, 10]
    assert choice.masks([np.float32([2, 3])])[0].tolist() == [False, True]


@pytest.mark.parametrize("choice", [Exact(1), Above(0.5)])
def test_a_nan_has_no_rank(choice):
    with pytest.raises(ValueError, match="NaN"):
        choice.add(np.array([0, 1]), np.zeros(2, np.float32), np.float32([1, np.nan]))
        choice.chosen()


@given(st.integers(20, 400), st.floats(1e-6, 1e3), st.integers(0, 99))
def test_the_running_threshold_lets_k_through_on_average_and_stays_positive(k, start, seed):
    generator, theta, counts = np.random.default_rng(seed), start, []
    for _ in range(300):
        count = int((generator.exponential(size=1000) > theta).sum())
        counts.append(count)
        theta = quantile_step(theta, count, k, 0.5)
        assert theta > 0
    settled = counts[100:]
    # 200 binomial counts that the feedback makes less, not more, varied: five standard deviations of their mean
    assert abs(np.mean(settled) - k) <= 5 * np.sqrt(k * (1 - k / 1000) / 200) + 1


def test_a_tie_that_comes_late_takes_the_place_of_one_behind_it():
    choice = Exact(2)
    choice.add(np.array([0, 9]), np.zeros(2), np.ones(2))
    choice.cut()
    assert choice.bound(0) == (1.0, 9) and choice.bound(4) == (1.0, 5)
    choice.add(np.array([5]), np.zeros(1), np.ones(1))
    assert choice.chosen()[0].tolist() == [0, 5]


def test_a_threshold_of_zero_becomes_positive():
    assert quantile_step(0.0, 9, 5, 0.5) > 0
