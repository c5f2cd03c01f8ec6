"""Quantised sparse training: its invariants, whatever chooses the mask."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minisparse._core import joint as kernel
from minisparse.codecs import Gaps
from minisparse.codecs.gaps import choose_width
from minisparse.compressed import compress
from minisparse.methods import Compose, DropBack, Magnitude, Method, QuantisedSparse, QuantisedSparseLearned
from minisparse.methods.quantising import kept_entries, parts, weights
from minisparse.run import Run, TrainSettings
from minisparse.stores import SparseStore
from minisparse.testing.methods import SETTINGS, check_method, small_data, small_model
from minisparse.train import fit, train_step

PLAIN = TrainSettings(epochs=3, batch=10, lr=0.1, momentum=0.0, schedule="constant", seed=5)
VECTORS = arrays(np.float32, st.integers(1, 40), elements=st.floats(-4, 4, width=32))
STEPS = st.floats(0.01, 2)
LEVELS = st.integers(1, 9)
EPS = np.finfo(np.float32).eps


def started(method: Method, settings: TrainSettings = PLAIN) -> Run:
    run = Run(small_model(), small_data(), method, settings)
    method.start(run)
    return run


def used(run: Run) -> dict[str, np.ndarray]:
    return {name: run.method.transform(p, p.store.values)[0] for name, p in weights(run).items()}


def mask_of(w, seed=0):
    return np.random.default_rng(seed).random(w.shape) < 0.6


# Eqs. 1 to 3


@given(w=VECTORS, step=STEPS, levels=LEVELS)
def test_weights_are_multiples_of_the_step_within_the_range_and_zero_exactly_off_the_mask(w, step, levels):
    on, step = mask_of(w), np.float32(step)
    q = kernel.quantise(w, on, step, levels)
    k = np.rint(q / step)
    np.testing.assert_array_equal(q[on], (k * step)[on])
    assert ((q != 0) == on).all() and not np.signbit(q[~on]).any()
    assert np.abs(k).max() <= levels and len(np.unique(q)) <= 2 * levels + 1


@given(w=VECTORS, step=STEPS, levels=LEVELS)
def test_quantising_again_changes_nothing(w, step, levels):
    on = mask_of(w)
    q = kernel.quantise(w, on, step, levels)
    assert kernel.quantise(q, on, step, levels).tobytes() == q.tobytes()
    # and a threshold below the step chooses the same mask again
    assert ((np.abs(q) > step * 0.99) == on).all()


@given(w=VECTORS, step=STEPS, levels=LEVELS)
def test_the_error_inside_the_range_is_at_most_half_a_step(w, step, levels):
    u = np.abs(w) / np.float32(step)
    inside = (u >= 0.5) & (u <= levels)
    error = np.abs(kernel.quantise(w, np.ones(w.shape, bool), step, levels) - w)
    assert (error[inside] <= step / 2 + 3 * EPS * np.abs(w[inside])).all()


@given(w=VECTORS, step=STEPS, levels=LEVELS, power=st.integers(-5, 5))
def test_scaling_weights_and_step_by_a_power_of_two_scales_the_result_to_the_bit(w, step, levels, power):
    a, on, step = np.float32(2.0**power), mask_of(w), np.float32(step)
    w = np.where(np.abs(w) < 1e-30, np.float32(0), w)  # no subnormal
    assert (
        kernel.quantise(a * w, on, a * step, levels).tobytes() == (a * kernel.quantise(w, on, step, levels)).tobytes()
    )


@given(w=VECTORS, step=STEPS, levels=LEVELS)
def test_sign_symmetry(w, step, levels):
    on = mask_of(w)
    np.testing.assert_array_equal(kernel.quantise(-w, on, step, levels), -kernel.quantise(w, on, step, levels))


@given(seed=st.integers(0, 99), levels=LEVELS)
def test_the_gradient_of_the_step_is_the_derivative_with_the_residual_of_rounding_held(seed, levels):
    generator = np.random.default_rng(seed)
    w, g = generator.normal(size=(2, 60))
    on, step = generator.random(60) < 0.7, 0.4
    u = np.abs(w) / step
    k = np.clip(np.rint(u), 1, levels)
    straight = (u >= 0.5) & (u < levels)

    def surrogate(s):
        """sign(w) s (|w| / s + residual) inside; sign(w) s k where the level is held."""
        return np.vdot(g * on, np.sign(w) * np.where(straight, s * (np.abs(w) / s + (k - u)), s * k))

    _, ds = kernel.quantise_backward(g, w, on, step, levels)
    assert abs(ds - (surrogate(step + 1e-6) - surrogate(step - 1e-6)) / 2e-6) < 1e-8 * levels * np.abs(g).sum()


def test_gradients_pass_the_mask_and_stop_where_descent_leads_out_of_the_range():
    w = np.array([0.1, 0.9, 3, -3, 3, -3, 3], np.float32)
    g = np.array([1, 1, 1, 1, -1, -1, -1], np.float32)
    on = np.array([0, 1, 1, 1, 1, 1, 0], bool)
    dw, _ = kernel.quantise_backward(g, w, on, 1.0, 3)
    np.testing.assert_array_equal(dw, [1, 1, 1, 0, 0, -1, -1])


def test_the_gradient_of_a_threshold_is_the_derivative_with_the_long_tailed_step():
    run = started(QuantisedSparseLearned(strength=0.3))
    p = run.model.parameters["fc1.weight"]
    generator, t = np.random.default_rng(0), 0.21
    w, g = generator.normal(size=(2, p.size)) * 0.5
    full = kernel.quantise(w, np.ones(p.size, bool), float(p.notes["step"][0]), 3)

    def integral(x):
        """Of h from 0, eq. 7."""
        a = np.minimum(np.abs(x), 0.4)
        return np.sign(x) * (2 * a - 2 * a * a + 0.4 * (np.clip(np.abs(x), 0.4, 1) - 0.4))

    def loss(t):
        return np.vdot(g, full * integral(np.abs(w) - t)) + 0.3 * np.exp(-t)

    slope = (loss(t + 1e-6) - loss(t - 1e-6)) / 2e-6
    assert run.method.threshold_slope(p, g, w, t) == pytest.approx(slope, rel=1e-6)


# In training


@given(
    density=st.floats(0.05, 1.0),
    levels=st.integers(1, 4),
    every=st.integers(1, 4),
    per=st.sampled_from(["tensor", "channel"]),
)
def test_exactly_k_weights_are_used_after_every_step_and_their_number_only_falls(density, levels, every, per):
    run = started(QuantisedSparse(density=density, levels=levels, every=every, per=per, floor=1), SETTINGS)
    before = 120
    for _ in range(run.total_steps):
        found = used(run)
        count = sum(np.count_nonzero(w) for w in found.values())
        if run.step % every == 0 and run.step <= 0.5 * run.total_steps:
            assert count == run.method.count(run)
        assert count <= before
        before = count
        for name, w in found.items():
            p = run.model.parameters[name]
            assert all(len(np.unique(kept_entries(p, w)[part])) <= 2 * levels + 1 for _, part in parts(per, p))
        train_step(run)
    assert sum(np.count_nonzero(w) for w in used(run).values()) == run.method.places(run.model)
    assert all(p.mask is not None for p in weights(run).values())


def test_exactly_k_weights_are_used_when_all_sizes_tie():
    run = started(QuantisedSparse(density=0.7, every=1))
    for p in weights(run).values():
        p.store.values[...] = 0.5
    run.step = run.total_steps
    run.method.move_masks(run)
    on = np.concatenate([p.notes["on"].ravel() for p in weights(run).values()])
    assert on[:84].all() and not on[84:].any()


class Identity(QuantisedSparse):
    """Its quantiser hands weights on."""

    def transform_weight(self, p, w):
        return w.copy()

    def pull_weight_back(self, p, g, w):
        p.notes["dstep"] = np.zeros(1, np.float32)
        return g


def trajectory(method: Method, settings: TrainSettings) -> list[np.ndarray]:
    run = started(method, settings)
    for _ in range(10):
        train_step(run)
    return [p.value().copy() for p in run.model.parameters.values()]


def test_with_the_whole_budget_fine_levels_train_as_no_quantiser_does_and_none_to_the_bit():
    dense = trajectory(Method(), PLAIN)
    same = trajectory(Identity(density=1.0, freeze=1.0), PLAIN)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(dense, same, strict=True))
    distances = []
    for levels in (3, 127):
        near = trajectory(QuantisedSparse(density=1.0, levels=levels, step_rate=0.0, freeze=1.0), PLAIN)
        distances.append(sum(np.abs(a - b).sum() for a, b in zip(dense, near, strict=True)))
    assert distances[1] < distances[0] / 5


@given(
    slopes=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    levels=LEVELS,
    per=st.sampled_from(["tensor", "channel"]),
)
def test_the_step_stays_above_what_the_kept_weights_ask_for_whatever_its_gradients(slopes, levels, per):
    run = started(QuantisedSparse(density=0.4, levels=levels, every=1, per=per))
    run.lr = 1.0
    for slope in slopes:
        for p in weights(run).values():
            p.notes["dstep"] = np.full_like(p.notes["step"], slope)
        run.method.update(run)
    for p in weights(run).values():
        for i, part in parts(per, p):
            kept = np.abs(p.value().ravel()[part])[p.notes["on"].ravel()[part]]
            least = kept.mean(dtype=np.float64) / (2 * levels) if len(kept) else 0
            assert p.notes["step"][i] > 0 and p.notes["step"][i] >= least * (1 - 40 * EPS)


def test_a_pruned_weight_moves_with_its_gradient_and_can_return():
    run = started(QuantisedSparse(density=0.2, begin=0.0, end=0.1, freeze=1.0, every=1), PLAIN)
    returned = 0
    for _ in range(run.total_steps - 2):
        masks = {name: p.notes["on"].copy() for name, p in weights(run).items()}
        before = {name: p.value().copy() for name, p in weights(run).items()}
        train_step(run)
        for name, p in weights(run).items():
            moved = before[name] != p.value()
            off = ~masks[name]
            # a gradient so small that it vanishes in the sum does not count
            large = np.abs(PLAIN.lr * p.store.grad) > EPS * np.abs(before[name])
            assert (moved[off & large]).all() and not moved[off & (p.store.grad == 0)].any()
            assert np.count_nonzero(off & large) >= np.count_nonzero(off) / 4
            returned += np.count_nonzero(p.notes["on"] & off)
    assert returned > 0


def test_the_mask_is_fixed_and_held_sparse_from_freeze_on():
    run = started(QuantisedSparse(density=0.1, end=0.4, freeze=0.5, floor=1), SETTINGS)
    while run.step < round(0.5 * run.total_steps):
        assert all(p.mask is None for p in weights(run).values())
        train_step(run)
    masks = [p.mask.copy() for p in weights(run).values()]
    while run.step < run.total_steps:
        train_step(run)
    assert isinstance(run.model.parameters["fc1.weight"].store, SparseStore)
    assert all((p.mask == mask).all() for p, mask in zip(weights(run).values(), masks, strict=True))


def test_a_penalty_drives_learned_thresholds_up_and_a_dying_layer_begins_again():
    kept = []
    for strength in (0.0, 1.0):
        model = small_model()
        fit(model, small_data(), QuantisedSparseLearned(strength=strength, floor=1, freeze=0.9), SETTINGS)
        kept.append(model.kept)
    assert kept[1] < kept[0]
    run = started(QuantisedSparseLearned(floor=5))
    for p in weights(run).values():
        p.notes["threshold"][...] = 10
    run.method.move_masks(run)
    assert all(p.notes["threshold"] == 0 and p.notes["on"].sum() == p.size for p in weights(run).values())


# What is exported


METHODS = [
    QuantisedSparse(density=0.2, levels=2, others=4),
    QuantisedSparse(density=0.5, levels=3, freeze=1.0, activations=3),
    QuantisedSparseLearned(strength=0.5, floor=2, levels=1),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_file_decodes_to_what_the_network_was_trained_on(method):
    data, model = small_data(), small_model()
    run = Run(model, data, method, SETTINGS)
    method.start(run)
    for _ in range(run.total_steps):
        train_step(run)
    for name in model.parameters:
        run.hold_dense(name)
    latent = {name: p.store.values for name, p in model.parameters.items()}
    for p in model.parameters.values():
        p.store.values = method.transform(p, p.store.values)[0]
    x, trained_on = data.test.samples(), {name: p.value().tobytes() for name, p in model.parameters.items()}
    outputs = model.predict(x).tobytes()
    for name, p in model.parameters.items():
        p.store.values = latent[name]
    method.finish(run)
    decoded = compress(model).model()
    assert {name: p.value().tobytes() for name, p in decoded.parameters.items()} == trained_on
    assert decoded.predict(x).tobytes() == outputs
    for p in (p for p in decoded.parameters.values() if p.role == "weight"):
        assert len(np.unique(p.value()[p.mask])) <= 2 * method.levels
        np.testing.assert_array_equal(p.mask, p.value() != 0)


def test_a_tensor_takes_no_more_bytes_than_gaps_levels_and_a_table_of_them():
    model = small_model()
    method = QuantisedSparse(density=0.3, levels=2)
    fit(model, small_data(), method, SETTINGS)
    rows = {row["name"]: row for row in compress(model).ledger()}
    for p in (p for p in model.parameters.values() if p.role == "weight"):
        gaps = len(Gaps(choose_width(p.mask.ravel())).encode(p.mask.ravel()))
        levels = 2 + 4 * 2 * method.levels + 2 * method.levels + -(-2 * p.kept // 8) + 4
        assert rows[p.name]["bytes"] <= gaps + levels


# In composition


@pytest.mark.parametrize(
    "joint", [QuantisedSparse(density=0.3, levels=2), QuantisedSparseLearned(strength=0.1, floor=1)]
)
def test_behind_dropback_both_keep_their_promises(joint):
    method = Compose(DropBack(budget=70, freeze=0.5), joint)
    check_method(method)
    model = small_model()
    fit(model, small_data(), method, replace(SETTINGS, momentum=0.0))
    assert model.kept == 70
    nonzero = 0
    for p in model.parameters.values():
        np.testing.assert_array_equal(p.value()[~p.mask], p.initial()[~p.mask])
        if p.role == "weight":
            values = p.value()[p.mask]
            assert len(np.unique(values)) <= 2 * joint.levels + 1
            nonzero += np.count_nonzero(values)
    if isinstance(joint, QuantisedSparse):
        stored = sum(p.kept for p in model.parameters.values() if p.role == "weight")
        assert nonzero == min(36, stored)


def test_behind_magnitude_pruning_the_budget_and_the_levels_are_both_met():
    model = small_model()
    fit(model, small_data(), Compose(Magnitude(density=0.4, every=1), QuantisedSparse(density=0.2, levels=1)), SETTINGS)
    pruned = [p for p in model.parameters.values() if p.role == "weight"]
    assert sum(p.kept for p in pruned) == 48
    assert sum(np.count_nonzero(p.value()) for p in pruned) == 24
    assert all(len(np.unique(np.abs(p.value()[p.value() != 0]))) == 1 for p in pruned)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: QuantisedSparse(density=0.5, levels=0), "levels"),
        (lambda: QuantisedSparse(density=0.5, levels=128), "levels"),
        (lambda: QuantisedSparse(density=0.5, step_rate=-1.0), "step_rate"),
        (lambda: QuantisedSparse(density=0.5, end=0.8), "end"),
        (lambda: QuantisedSparse(density=0.5, begin=0.6), "end"),
        (lambda: QuantisedSparse(density=0.5, freeze=0.0), "freeze"),
        (lambda: QuantisedSparse(density=0.5, every=0), "every"),
        (lambda: QuantisedSparse(), "budget"),
        (lambda: QuantisedSparseLearned(strength=-1.0), "strength"),
        (lambda: QuantisedSparseLearned(floor=0), "floor"),
    ],
)
def test_a_setting_out_of_range_is_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()
