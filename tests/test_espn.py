"""ESPN: what its paper promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse.loss import softmax_cross_entropy
from minisparse.methods import ESPN, ESPNRewind, Method
from minisparse.methods.espn import HASTE
from minisparse.methods.scoring import gradients
from minisparse.model import Model
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import train_step

PLAIN = TrainSettings(epochs=4, batch=10, lr=0.1, momentum=0.9, schedule="constant", seed=5)
WHOLE = ESPN(density=0.3, begin=0.0, end=1.0, alpha=0.0)
"""Nothing but a search, without a penalty."""


def started(method: Method, settings: TrainSettings = PLAIN, model: Model | None = None) -> Run:
    run = Run(small_model() if model is None else model, small_data(), method, settings)
    method.start(run)
    return run


def candidates(run: Run) -> dict:
    return run.method.candidates(run.model)


def forward_and_pull_back(run: Run, x, labels) -> float:
    """One step's gradient, as the loop computes it; the loss."""
    latent = {}
    for name, p in run.model.parameters.items():
        p.store.grad.fill(0)
        used, cache = run.method.transform(p, p.store.values)
        latent[name], p.store.values = (p.store.values, cache), used
    logits, caches = run.model.forward(x, training=True)
    loss, dlogits = softmax_cross_entropy(logits, labels)
    run.model.backward(dlogits, caches)
    for name, p in run.model.parameters.items():
        p.store.values, cache = latent[name]
        p.store.grad = run.method.pullback(p, p.store.grad, cache)
    return loss


def test_the_first_step_of_a_search_is_the_dense_step_and_its_mask_gradient_is_snips():
    search, dense = started(WHOLE), started(Method())
    x, labels = search.batches.batch(0, 0)
    w = {name: p.value() for name, p in candidates(search).items()}
    g = gradients(search.model, x, labels, w)
    forward_and_pull_back(search, x, labels)
    for (name, p), dw in zip(candidates(search).items(), g, strict=True):
        np.testing.assert_array_equal(p.notes["dm"], w[name] * dw)
    assert train_step(search) == train_step(dense)
    for name, p in dense.model.parameters.items():
        assert search.model.parameters[name].value().tobytes() == p.value().tobytes()


def random_masks(run: Run, seed: int) -> None:
    """Masks of size 0.1 to 1.5, of either sign."""
    generator = np.random.default_rng(seed)
    for p in candidates(run).values():
        p.notes["m"][...] = generator.uniform(0.1, 1.5, p.shape) * generator.choice([-1, 1], p.shape)


def test_gradients_in_weights_and_masks_agree_with_central_differences():
    run = started(WHOLE, model=Model("small", small_model().net, (8,), 5, np.float64))
    random_masks(run, 0)
    x, labels = run.batches.batch(0, 0)
    x = x.astype(np.float64)
    forward_and_pull_back(run, x, labels)
    generator, e = np.random.default_rng(1), 1e-6
    pairs = [
        (array, gradient.copy())
        for p in candidates(run).values()
        for array, gradient in ((p.store.values, p.store.grad), (p.notes["m"], p.notes["dm"]))
    ]
    for array, ours in pairs:
        direction, before = generator.normal(size=array.shape), array.copy()
        sides = []
        for sign in (1, -1):
            array[...] = before + sign * e * direction
            sides.append(forward_and_pull_back(run, x, labels))
        array[...] = before
        slope = (sides[0] - sides[1]) / (2 * e)
        assert abs(np.vdot(ours, direction) - slope) < 1e-8 * np.linalg.norm(ours * direction)


def test_rescaling_identity():
    run = started(WHOLE)
    random_masks(run, 2)
    forward_and_pull_back(run, *run.batches.batch(0, 0))
    for p in candidates(run).values():
        # m (G w) and w (G m) are two products each, rounded in another order
        left, right = p.notes["m"] * p.notes["dm"], p.value() * p.store.grad
        np.testing.assert_allclose(left, right, rtol=4 * np.finfo(np.float32).eps)
        assert left.any()


@given(seed=st.integers(0, 99), density=st.floats(0.02, 1.0), levels=st.integers(1, 4), rewind=st.booleans())
def test_the_mask_has_exactly_k_ones_when_sizes_tie(seed, density, levels, rewind):
    cls = ESPNRewind if rewind else ESPN
    run = started(cls(density=density, begin=0.0, end=1.0, floor=1))
    generator, before = np.random.default_rng(seed), {n: p.value().copy() for n, p in candidates(run).items()}
    masks = {}
    for name, p in candidates(run).items():
        masks[name] = p.notes["m"][...] = generator.integers(0, levels, p.shape) * generator.choice([-1, 1], p.shape)
    run.method.end_search(run)
    assert sum(p.kept for p in candidates(run).values()) == max(2, round(density * 120))
    for name, p in candidates(run).items():
        factor = 1 if rewind else masks[name].astype(np.float32)
        np.testing.assert_array_equal(p.value(), np.where(p.mask, before[name] * factor, 0))
        assert not p.notes
    mask = np.concatenate([p.mask.ravel() for p in candidates(run).values()])
    sizes = np.concatenate([np.abs(m).ravel() for m in masks.values()])
    if all(p.kept > 1 for p in candidates(run).values()) and not mask.all():  # the floor did not decide
        assert sizes[mask].min() >= sizes[~mask].max()


@given(momentum=st.sampled_from([0.0, 0.5, 0.9]), alpha=st.floats(0.01, 1.0), steps=st.integers(1, 60))
def test_without_a_gradient_masks_fall_as_heavy_ball_descent_says(momentum, alpha, steps):
    run = started(replace(WHOLE, alpha=alpha), replace(PLAIN, momentum=momentum))
    run.lr = 0.01
    expected = 1.0
    for t in range(1, steps + 1):
        expected -= run.lr * alpha * (1 - momentum**t) / (1 - momentum)
        if expected <= 0:
            break
        for p in candidates(run).values():
            p.notes["dm"] = np.zeros_like(p.value())
        run.method.update_masks(run)
        for p in candidates(run).values():
            # t subtractions from 1, and the rounding of the velocity
            np.testing.assert_allclose(p.notes["m"], expected, atol=4 * t * np.finfo(np.float32).eps)


def test_permuting_the_units_of_a_layer_permutes_the_masks_and_changes_nothing_else():
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    runs = [started(replace(WHOLE, alpha=0.05), model=Model("m", small_model().net, (8,), 5, np.float64)) for _ in "ab"]
    at = {"fc1.weight": np.s_[order], "fc2.weight": np.s_[:, order]}
    at |= dict.fromkeys(["fc1.bias", "bn.gain", "bn.bias"], np.s_[order])
    for name, permuted in at.items():
        values = runs[1].model.parameters[name].store.values
        values[...] = values[permuted]
    for _ in range(12):
        losses = [train_step(run) for run in runs]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    for name in ("fc1.weight", "fc2.weight"):
        one, other = (run.model.parameters[name].notes["m"] for run in runs)
        # the same sums in another order, over 12 steps in float64
        np.testing.assert_allclose(one[at[name]], other, rtol=1e-9, atol=1e-12)


def test_fine_tuning_starts_from_the_function_that_the_search_found():
    run = started(replace(WHOLE, density=1.0))
    random_masks(run, 3)
    x = run.data.test.samples()
    for p in candidates(run).values():
        p.store.values, p.notes["w"] = p.notes["m"] * p.store.values, p.store.values
    before = run.model.predict(x)
    for p in candidates(run).values():
        p.store.values = p.notes.pop("w")
    run.method.end_search(run)
    np.testing.assert_array_equal(run.model.predict(x), before)


@pytest.mark.parametrize("begin", [0.0, 0.25])
def test_rewinding_starts_from_the_values_where_the_search_began(begin):
    run = started(ESPNRewind(density=0.3, begin=begin, end=0.75, alpha=0.3))
    first, last = round(begin * run.total_steps), round(0.75 * run.total_steps)
    for _ in range(first):
        train_step(run)
    before = {name: p.value().copy() for name, p in run.model.parameters.items()}
    for _ in range(last - first):
        assert all("m" in p.notes for p in candidates(run).values())
        train_step(run)
    for name, p in run.model.parameters.items():
        mask = np.ones(p.shape, bool) if p.mask is None else p.mask
        np.testing.assert_array_equal(p.value(), np.where(mask, before[name], 0))
    assert sum(p.kept for p in candidates(run).values()) == 36


def test_the_search_stops_as_soon_as_few_enough_masks_are_left_and_not_before():
    method = ESPN(density=0.3, begin=0.0, end=0.9, alpha=0.05, eps=0.1, every=2)
    run, counts = started(method, replace(PLAIN, epochs=20)), []
    while method._searching(run):
        assert all(set(p.notes) == {"m"} for p in candidates(run).values())
        if run.step:
            counts.append(sum(int((np.abs(p.notes["m"]) > 0.1).sum()) for p in candidates(run).values()))
        train_step(run)
    assert run.step < round(0.9 * run.total_steps) and run.step % 2 == 0
    assert all(count > 36 for count in counts[1::2])
    assert run.model.kept == 36 + 34
    assert not run.optimizer.state


def test_the_penalty_is_set_so_that_undefended_masks_are_gone_when_the_search_ends():
    run = started(ESPN(density=0.3, begin=0.0, end=1.0, eps=1e-2), replace(PLAIN, epochs=200, lr=0.05))
    run.lr = run.settings.lr
    steps = 0
    while not run.method.few_left(run):
        for p in candidates(run).values():
            p.notes["dm"] = np.zeros_like(p.value())
        run.method.update_masks(run)
        steps += 1
    # momentum takes 1 / (1 - 0.9) steps to reach its speed
    assert 0 <= steps - run.total_steps / HASTE * (1 - 1e-2) <= 12


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_larger_penalty_leaves_no_more_masks_on_a_separable_quadratic(seed, momentum):
    """L = 1/2 sum a (m w - t)^2 in place of a network's loss."""
    left = []
    for alpha in (0.0, 0.02, 0.1, 0.5):
        run = started(replace(WHOLE, alpha=alpha, eps=0.05), replace(PLAIN, momentum=momentum))
        run.lr = 0.01
        generator = np.random.default_rng(seed)
        problem = {n: generator.uniform(0, 2, (2, *p.shape)).astype(np.float32) for n, p in candidates(run).items()}
        for _ in range(600):
            for name, p in candidates(run).items():
                a, target = problem[name]
                used, cache = run.method.transform(p, p.store.values)
                p.store.grad = run.method.pullback(p, a * (used - target * p.initial()), cache)
            run.optimizer.step(candidates(run), run.lr)
            run.method.update_masks(run)
        left.append(sum(int((np.abs(p.notes["m"]) > 0.05).sum()) for p in candidates(run).values()))
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


@pytest.mark.parametrize(("cls", "first_lr", "after"), [(ESPN, 0.0, 0.2), (ESPNRewind, 0.1, 1.0)])
def test_each_phase_has_its_own_learning_rate_and_the_search_no_weight_decay(cls, first_lr, after):
    settings = replace(SETTINGS, epochs=5, schedule="cosine", lr=0.1, weight_decay=0.01)
    run = started(cls(density=0.3, begin=0.25, end=0.75), settings)
    paces = []
    for _ in range(run.total_steps):
        paces.append(run.method.pace(run))
        train_step(run)
    first, last = round(0.25 * run.total_steps), round(0.75 * run.total_steps)
    assert paces[0] == (0.1, 0.01)
    # at the end of the first phase
    assert paces[first - 1][0] == pytest.approx(first_lr, abs=0.1 * np.pi**2 / first**2)
    assert set(paces[first:last]) == {(0.1, 0.0)}
    assert paces[last] == (pytest.approx(0.1 * after), 0.01)
    assert paces[-1][0] < 0.2 * paces[last][0]


def test_the_validation_error_of_a_search_is_that_of_the_masked_network():
    from minisparse.train import end_epoch, evaluate

    run = started(WHOLE)
    train_step(run)
    random_masks(run, 4)
    row = end_epoch(run)
    for p in candidates(run).values():
        p.store.values = p.notes["m"] * p.store.values
    assert evaluate(run.model, run.data.validation).loss == row["validation_loss"]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: ESPN(density=0.5, begin=0.5, end=0.5), "begin"),
        (lambda: ESPN(density=0.5, end=1.5), "end"),
        (lambda: ESPN(density=0.5, alpha=-1.0), "alpha"),
        (lambda: ESPN(density=0.5, eps=-1.0), "eps"),
        (lambda: ESPN(density=0.5, every=0), "every"),
        (lambda: ESPN(density=0.5, tune=0.0), "tune"),
        (lambda: started(ESPN(density=0.5), replace(PLAIN, optimizer="adam")), "alpha"),
        (lambda: started(ESPN(density=0.5, begin=0.999, end=1.0)), "begin"),
    ],
)
def test_wrong_settings_are_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()
