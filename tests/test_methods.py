"""What each method's paper promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.methods import Compose, DropBack, Magnitude, Method, RandomPruning
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import fit, train_step

PLAIN = TrainSettings(epochs=2, batch=10, lr=0.2, momentum=0.0, schedule="constant", seed=5)


def started(method: Method, settings: TrainSettings = PLAIN) -> Run:
    run = Run(small_model(), small_data(), method, settings)
    method.start(run)
    return run


def weights(run: Run) -> np.ndarray:
    return np.concatenate([p.value().ravel() for p in run.model.parameters.values()])


@given(budget=st.integers(0, 154), seed=st.integers(0, 1000))
def test_dropback_stores_exactly_its_budget_after_every_step(budget, seed):
    settings = TrainSettings(epochs=1, batch=10, lr=0.3, momentum=0.0, seed=seed)
    run = started(DropBack(budget=budget), settings)
    for _ in range(run.total_steps):
        train_step(run)
        assert run.model.kept == budget


def test_budget_is_met_exactly_when_all_scores_tie():
    run = started(DropBack(budget=33))
    for p in run.model.parameters.values():
        p.store.grad.fill(0)
    run.step = 1
    run.method.after_step(run)
    places = np.concatenate([p.mask.ravel() for p in run.model.parameters.values()])
    assert places[:33].all()
    assert not places[33:].any()


def test_dropback_with_the_whole_budget_is_sgd_to_the_bit():
    size = small_model().size
    dense, dropback = started(Method()), started(DropBack(budget=size))
    for _ in range(dense.total_steps):
        assert train_step(dense) == train_step(dropback)
    assert weights(dense).tobytes() == weights(dropback).tobytes()


def test_dropback_with_no_budget_never_changes():
    run = started(DropBack(budget=0))
    before = weights(run).tobytes()
    for _ in range(run.total_steps):
        train_step(run)
    assert weights(run).tobytes() == before == weights(started(Method())).tobytes()


def test_dropback_keeps_the_largest_accumulated_gradients():
    run = started(DropBack(budget=40))
    gradient_sums = {name: np.zeros(p.shape, np.float64) for name, p in run.model.parameters.items()}
    always = {name: np.ones(p.shape, bool) for name, p in run.model.parameters.items()}
    for _ in range(run.total_steps):
        before = {name: p.value().copy() for name, p in run.model.parameters.items()}
        train_step(run)
        scores, masks = [], []
        for name, p in run.model.parameters.items():
            moved = before[name] - PLAIN.lr * p.store.grad
            scores.append(np.abs(moved - p.initial()).ravel())
            masks.append(p.mask.ravel())
            gradient_sums[name] += p.store.grad
            always[name] &= p.mask
        scores, masks = np.concatenate(scores), np.concatenate(masks)
        assert scores[masks].min() >= scores[~masks].max() - 1e-6
    # with plain SGD at a constant rate, w(0) - w = eta * sum of gradients, for weights stored throughout
    stayed = sum(int(mask.sum()) for mask in always.values())
    assert stayed > 0
    for name, p in run.model.parameters.items():
        moved = (p.initial() - p.value())[always[name]]
        np.testing.assert_allclose(moved, PLAIN.lr * gradient_sums[name][always[name]], atol=1e-5)


def test_a_frozen_set_stays_and_only_it_is_trained():
    run = started(DropBack(budget=40, freeze=0.5))
    half = run.total_steps // 2
    for _ in range(half):
        train_step(run)
    frozen = [p.mask.copy() for p in run.model.parameters.values()]
    for _ in range(run.total_steps - half):
        train_step(run)
        for p, mask in zip(run.model.parameters.values(), frozen, strict=True):
            assert (p.mask == mask).all()
            assert not p.store.grad[~mask].any()


def test_decayed_initial_values_end_as_true_zeros():
    run = started(DropBack(budget=40, decay=0.5, decay_steps=6))
    for t in range(1, 9):
        train_step(run)
        rho = np.float32(0.5**t if t < 6 else 0.0)
        for p in run.model.parameters.values():
            assert p.value()[~p.mask].tobytes() == (p.initial() * rho)[~p.mask].tobytes() or rho == 0
    assert np.count_nonzero(weights(run)) <= 40


@pytest.mark.parametrize("every", [1, 3])
def test_magnitude_pruning_never_brings_a_weight_back_and_meets_its_count(every):
    method = Magnitude(density=0.2, begin=0.1, end=0.8, every=every)
    run = started(method, SETTINGS)
    before = None
    for _ in range(run.total_steps):
        train_step(run)
        masks = [p.mask for p in method.candidates(run.model).values()]
        if masks[0] is None:
            continue
        if before is not None:
            assert all((now <= then).all() for now, then in zip(masks, before, strict=True))
        before = masks
    assert sum(int(m.sum()) for m in before) == round(0.2 * 120)


def test_one_shot_magnitude_keeps_the_largest_weights():
    method = Magnitude(density=0.25, begin=0.5, end=0.5)
    run = started(method)
    cut = round(0.5 * run.total_steps)
    while run.step < cut - 1:
        train_step(run)
        assert all(p.mask is None for p in run.model.parameters.values())
    twin = started(Method())
    while twin.step < cut:
        train_step(twin)
    train_step(run)
    full = np.concatenate([np.abs(p.value()).ravel() for p in method.candidates(twin.model).values()])
    kept = np.concatenate([p.mask.ravel() for p in method.candidates(run.model).values()])
    assert kept.sum() == 30
    assert full[kept].min() >= full[~kept].max()


def test_random_masks_differ_between_seeds_and_not_between_runs():
    def mask(seed):
        run = Run(small_model(), small_data(), RandomPruning(density=0.3), TrainSettings(batch=10, seed=seed))
        run.method.start(run)
        return np.concatenate([p.mask.ravel() for p in run.method.candidates(run.model).values()])

    assert (mask(1) == mask(1)).all()
    assert (mask(1) != mask(2)).any()


@pytest.mark.parametrize("cls", [DropBack, Magnitude, RandomPruning])
@pytest.mark.parametrize("budget", [155, 10**9])
def test_a_budget_over_the_number_of_values_is_refused(cls, budget):
    with pytest.raises(ValueError, match=rf"budget={budget:,} must lie between \d+ .* and 154"):
        fit(small_model(), small_data(), cls(budget=budget), PLAIN)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: DropBack(), "budget"),
        (lambda: DropBack(budget=5, density=0.5), "budget"),
        (lambda: DropBack(budget=-1), "budget"),
        (lambda: RandomPruning(density=0.0), "density"),
        (lambda: RandomPruning(density=1.5), "density"),
        (lambda: RandomPruning(density=float("nan")), "density"),
        (lambda: DropBack(budget=5, freeze=1.5), "freeze"),
        (lambda: DropBack(budget=5, decay=0.0), "decay"),
        (lambda: DropBack(budget=5, decay_steps=0), "decay_steps"),
        (lambda: Magnitude(density=0.5, begin=0.9, end=0.1), "begin"),
        (lambda: Magnitude(density=0.5, every=0), "every"),
        (lambda: Method.from_config({"name": "dropbock"}), "dropbock"),
        (lambda: Method.from_config({"name": "dropback", "budget": 5, "frieze": 1}), "frieze"),
    ],
)
def test_wrong_settings_are_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()


class Doubling(Method):
    """The network runs on 2 w, so its gradient is carried back doubled."""

    def transform(self, p, w):
        return 2 * w, 2

    def pullback(self, p, g, cache):
        return cache * g

    def penalty(self, p):
        return 1.0, np.full(p.shape, 0.5, np.float32)


def test_transform_pullback_and_penalty_reach_the_step():
    plain, doubled = started(Method()), started(Doubling())
    for p in plain.model.parameters.values():
        p.store.values *= 2
    loss, loss_of_doubled = train_step(plain), train_step(doubled)
    assert loss_of_doubled == pytest.approx(loss + len(plain.model.parameters))
    for name, p in plain.model.parameters.items():
        expected = 2 * p.store.grad + np.float32(0.5)
        np.testing.assert_allclose(doubled.model.parameters[name].store.grad, expected, rtol=1e-5, atol=1e-7)


def test_composed_transforms_run_in_reading_order_and_pull_back_in_reverse():
    calls = []

    class Noted(Method):
        def transform(self, p, w):
            calls.append(("transform", id(self)))
            return w, id(self)

        def pullback(self, p, g, cache):
            assert cache == id(self)
            calls.append(("pullback", id(self)))
            return g

    a, b = Noted(), Noted()
    both, p = Compose(a, b), small_model().parameters["fc1.bias"]
    _, cache = both.transform(p, p.store.values)
    both.pullback(p, p.store.grad, cache)
    assert calls == [("transform", id(a)), ("transform", id(b)), ("pullback", id(b)), ("pullback", id(a))]
