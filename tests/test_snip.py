"""SNIP, iterative SNIP, FORCE and GraSP: what their papers promise."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import layers as nn
from minisparse.data import from_arrays
from minisparse.gradcheck import distinct_values
from minisparse.loss import softmax_cross_entropy
from minisparse.methods import FORCE, SNIP, GraSP, IterativeSNIP, MagnitudeAtStart, Method, RandomPruning, scoring
from minisparse.methods.grasp import softened_gradients
from minisparse.methods.scoring import gradients, scoring_batch
from minisparse.model import Model
from minisparse.rng import Stream
from minisparse.run import Run
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import train_step


def run_of(method: Method, model: Model | None = None, data=None) -> Run:
    return Run(small_model() if model is None else model, small_data() if data is None else data, method, SETTINGS)


def started(method: Method, model: Model | None = None, data=None) -> Run:
    run = run_of(method, model, data)
    method.start(run)
    return run


def masks_of(run: Run) -> list[np.ndarray]:
    return [p.mask for p in run.method.candidates(run.model).values()]


def flat(arrays) -> np.ndarray:
    return np.concatenate([a.ravel() for a in arrays])


def weights(model: Model) -> dict[str, np.ndarray]:
    return {name: p.value() for name, p in model.parameters.items() if p.role == "weight"}


def mlp(bias: bool = True, dtype=np.float64) -> Model:
    net = nn.Sequential({"fc1": nn.Linear(8, 10, bias=bias), "relu": nn.ReLU(), "fc2": nn.Linear(10, 4, bias=bias)})
    return Model("mlp", net, (8,), 3, dtype)


# SNIP


def test_sensitivity_is_the_derivative_in_the_indicators():
    model = small_model()
    model = Model("small", model.net, (8,), 5, np.float64)
    run = run_of(SNIP(density=0.5), model)
    w = weights(model)
    x, labels = scoring_batch(run.data.train, SETTINGS.seed, 0, SETTINGS.batch)
    x = x.astype(np.float64)

    def loss(indicators):
        for (name, c), value in zip(indicators.items(), w.values(), strict=True):
            model.parameters[name].store.values = c * value
        return softmax_cross_entropy(model.forward(x, training=True)[0], labels)[0]

    slopes, e = [], 1e-6
    for name, value in w.items():
        slope = np.zeros(value.shape)
        for j in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                c = {n: np.ones(v.shape) for n, v in w.items()}
                c[name][j] += sign * e
                sides.append(loss(c))
            slope[j] = (sides[0] - sides[1]) / (2 * e)
        slopes.append(np.abs(slope))
    for name, value in w.items():
        model.parameters[name].store.values = value
    ours, theirs = flat(run.method.sensitivity(run, w)), flat(slopes)
    # 1e-6 of the largest: a central difference has an error of e^2 and of eps / e
    np.testing.assert_allclose(ours, theirs / theirs.sum(), atol=1e-6 * ours.max())


@pytest.mark.parametrize("accumulate", ["signed", "absolute"])
def test_several_batches_add_g_with_its_sign_or_its_size(accumulate):
    run = run_of(SNIP(density=0.5, batches=3, samples=10, accumulate=accumulate))
    w = weights(run.model)
    parts = []
    for i in range(3):
        g = gradients(run.model, *scoring_batch(run.data.train, SETTINGS.seed, i, 10), w)
        parts.append(flat(value * dw.astype(np.float64) for value, dw in zip(w.values(), g, strict=True)))
    expected = np.abs(sum(parts)) if accumulate == "signed" else sum(np.abs(part) for part in parts)
    # sums of three terms in another order
    np.testing.assert_allclose(flat(run.method.sensitivity(run, w)), expected / expected.sum(), rtol=1e-12)


def test_one_large_batch_scores_as_its_parts_with_sign():
    model = mlp()  # without normalisation, samples are independent
    whole, parts = SNIP(density=0.5, samples=20), SNIP(density=0.5, samples=5, batches=4)
    ours, theirs = (flat(method.sensitivity(run_of(method, model), weights(model))) for method in (whole, parts))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-15)


def test_scores_sum_to_one_and_do_not_depend_on_the_scale_of_the_loss(monkeypatch):
    run = run_of(SNIP(density=0.5))
    before = flat(run.method.sensitivity(run, weights(run.model)))
    assert before.sum() == pytest.approx(1, abs=before.size * np.finfo(float).eps)
    scaled = lambda logits, labels: tuple(4 * part for part in softmax_cross_entropy(logits, labels))  # noqa: E731
    monkeypatch.setattr(scoring, "softmax_cross_entropy", scaled)
    np.testing.assert_array_equal(flat(run.method.sensitivity(run, weights(run.model))), before)


@pytest.mark.parametrize("cls", [SNIP, GraSP, MagnitudeAtStart, RandomPruning])
def test_masks_of_nested_budgets_are_nested(cls):
    before = np.zeros(120, bool)
    for density in (0.1, 0.25, 0.6, 1.0):
        now = flat(masks_of(started(cls(density=density, floor=1))))
        assert now.sum() == round(density * 120)
        assert (before <= now).all()
        before = now


def test_a_dead_input_and_a_weight_of_zero_are_kept_only_when_nothing_else_is_left():
    data = small_data()
    x, y = data.train.x.copy(), data.train.labels
    x[:, 2] = 0
    data = from_arrays("dead", (x, y), classes=4)
    model = mlp(dtype=np.float32)
    model.parameters["fc2.weight"].store.values[1, :6] = 0
    run = run_of(SNIP(density=0.5, samples=40), model, data)
    scores = run.method.sensitivity(run, weights(model))
    assert not scores[0][:, 2].any() and not scores[1][1, :6].any()
    positive = int(np.count_nonzero(flat(scores)))
    for k in (20, positive, positive + 5, 120):
        mask = flat(run.method.choose([*run.method.candidates(model).values()], scores, k))
        assert mask.sum() == k
        assert mask[flat(scores) == 0].sum() == max(0, k - positive)


def test_rescaling_a_relu_unit_changes_no_sensitivity_but_magnitudes():
    model = mlp()
    run = run_of(SNIP(density=0.5), model)
    before = flat(run.method.sensitivity(run, weights(model)))
    for name in ("fc1.weight", "fc1.bias"):
        model.parameters[name].store.values[3] *= 8
    magnitudes = flat(np.abs(value) for value in weights(model).values())
    model.parameters["fc2.weight"].store.values[:, 3] /= 8
    np.testing.assert_array_equal(flat(run.method.sensitivity(run, weights(model))), before)
    assert (flat(np.abs(value) for value in weights(model).values()) != magnitudes).any()


def test_signed_sensitivities_into_a_relu_unit_balance_those_out_of_it():
    model = mlp(bias=False)
    x, labels = scoring_batch(small_data().train, 0, 0, 20)
    w = weights(model)
    into, out = (value * g for value, g in zip(w.values(), gradients(model, x, labels, w), strict=True))
    np.testing.assert_allclose(into.sum(axis=1), out.sum(axis=0), rtol=1e-10, atol=1e-15)


def test_snip_that_keeps_all_is_the_dense_run_to_the_bit():
    dense, snip = started(Method()), started(SNIP(density=1.0))
    for _ in range(dense.total_steps):
        assert train_step(dense) == train_step(snip)


# Iterative SNIP and FORCE


@pytest.mark.parametrize("cls", [IterativeSNIP, FORCE])
def test_a_single_step_is_snip(cls):
    for one, other in zip(
        masks_of(started(cls(density=0.2, steps=1))), masks_of(started(SNIP(density=0.2))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@given(m=st.integers(1, 10**7), share=st.floats(1e-4, 1), steps=st.integers(1, 80))
def test_counts_fall_from_the_first_root_of_the_density_to_the_budget(m, share, steps):
    k = max(1, round(share * m))
    counts = FORCE(density=0.5, steps=steps).counts(m, k)
    assert len(counts) == steps and counts[-1] == k
    assert counts[0] == round(m * (k / m) ** (1 / steps))
    assert counts == sorted(counts, reverse=True)
    if m * (1 - (k / m) ** (1 / steps)) * k / m > 1:  # the steps are larger than the rounding
        assert len(set(counts)) == steps


@pytest.mark.parametrize(("cls", "returns"), [(IterativeSNIP, False), (FORCE, True)])
def test_what_iterative_snip_removes_stays_away_and_in_force_it_may_return(cls, returns, monkeypatch):
    chosen, choose = [], cls.choose

    def noted(*arguments):
        chosen.append(flat(masks := choose(*arguments)))
        return masks

    monkeypatch.setattr(cls, "choose", noted)
    run = started(cls(density=0.15, steps=12, samples=10))
    assert [int(mask.sum()) for mask in chosen] == run.method.counts(120, 18)
    nested = all((later <= earlier).all() for earlier, later in pairwise(chosen))
    assert nested is not returns


@pytest.mark.parametrize("cls", [IterativeSNIP, FORCE])
def test_each_step_scores_at_the_masked_weights_on_batches_of_its_own(cls):
    run = run_of(cls(density=0.5, samples=10, batches=2))
    w, masks = (
        weights(run.model),
        [Stream(1, "mask").uniform(n).reshape(s) < 0.5 for n, s in ((80, (10, 8)), (40, (4, 10)))],
    )
    masked = {name: value * mask for (name, value), mask in zip(w.items(), masks, strict=True)}
    scored = w if cls is FORCE else masked
    total = 0
    for number in (6, 7):
        g = gradients(run.model, *scoring_batch(run.data.train, SETTINGS.seed, number, 10), masked)
        total = total + flat(value * dw.astype(np.float64) for value, dw in zip(scored.values(), g, strict=True))
    expected = np.abs(total) / np.abs(total).sum()
    if cls is IterativeSNIP:
        expected[~flat(masks)] = -1
    np.testing.assert_allclose(flat(run.method.scores(run, w, masks, 6)), expected, rtol=1e-12)


def test_the_original_weights_are_trained_after_the_search():
    run = started(FORCE(density=0.2, steps=4))
    for p in run.method.candidates(run.model).values():
        np.testing.assert_array_equal(p.value(), np.where(p.mask, p.initial(), 0))


# GraSP

EVERY_LAYER = {
    "mlp": lambda: (mlp().net, (8,)),
    "norm": lambda: (small_model().net, (8,)),
    "smooth": lambda: (
        nn.Sequential([nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.LeakyReLU(0.1)]),
        (8,),
    ),
    "images": lambda: (
        nn.Sequential(
            [
                nn.Conv2d(2, 4, 3, padding=1),
                nn.BatchNorm(4),
                nn.ReLU(),
                nn.Residual(nn.Conv2d(4, 4, 3, padding=1, groups=2)),
                nn.MaxPool2d(2),
                nn.GroupNorm(2, 4),
                nn.Concat(nn.Conv2d(4, 3, 1)),
                nn.Residual(nn.Conv2d(7, 8, 3, stride=2, padding=1), nn.PaddedShortcut(8)),
                nn.AvgPool2d(2, stride=1),
                nn.GlobalAvgPool(),
                nn.Linear(8, 4),
            ]
        ),
        (2, 6, 6),
    ),
}


def problem(name: str):
    """A float64 model at no special point, its weights, a batch, labels and the gradient as direction."""
    net, shape = EVERY_LAYER[name]()
    model = Model(name, net, shape, 1, np.float64)
    for path, p in model.parameters.items():
        p.store.values += 0.1 * distinct_values(p.shape, Stream(0, path))
    x, labels = distinct_values((*shape, 6), Stream(0, "x")), np.arange(6) % 4
    w = weights(model)
    return model, w, x, labels, softened_gradients(model, x, labels, w, 2.0)


def hessian_product(model, w, x, labels, direction) -> list[np.ndarray]:
    r = 1e-10
    moved = {name: value + 1j * r * d for (name, value), d in zip(w.items(), direction, strict=True)}
    return [g.imag / r for g in softened_gradients(model, x, labels, moved, 2.0)]


@pytest.mark.parametrize("name", EVERY_LAYER)
def test_hessian_times_gradient_agrees_with_finite_differences(name):
    model, w, x, labels, g = problem(name)
    e = 1e-5
    sides = []
    for sign in (1, -1):
        moved = {n: value + sign * e * d for (n, value), d in zip(w.items(), g, strict=True)}
        sides.append(flat(softened_gradients(model, x, labels, moved, 2.0)))
    ours, theirs = flat(hessian_product(model, w, x, labels, g)), (sides[0] - sides[1]) / (2 * e)
    # a central difference: e^2 and eps / e
    np.testing.assert_allclose(ours, theirs, atol=1e-7 * np.abs(ours).max())


def test_hessian_times_gradient_is_pearlmutters_r_operator():
    model, w, x, labels, (v1, v2) = problem("mlp")
    w1, w2 = w.values()
    b1, b2 = (model.parameters[f"fc{i}.bias"].value()[:, None] for i in (1, 2))
    temperature, n = 2.0, len(labels)
    # forward, and R of it, in the direction (v1, v2)
    z1 = w1 @ x + b1
    h1, rz1 = np.maximum(z1, 0), v1 @ x
    rh1 = (z1 > 0) * rz1
    z2, rz2 = w2 @ h1 + b2, v2 @ h1 + w2 @ rh1
    p = np.exp(z2 / temperature) / np.exp(z2 / temperature).sum(axis=0)
    dz2 = (p - np.eye(4)[:, labels]) / (n * temperature)
    rdz2 = (p * rz2 - p * (p * rz2).sum(axis=0)) / (n * temperature**2)
    # backward, and R of it
    rdz1 = (z1 > 0) * (v2.T @ dz2 + w2.T @ rdz2)
    theirs = [rdz1 @ x.T, rdz2 @ h1.T + dz2 @ rh1.T]
    ours = hessian_product(model, w, x, labels, [v1, v2])
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * np.abs(b).max())


def test_grasp_scores_sum_to_the_curvature_and_carry_their_sign():
    run = run_of(GraSP(density=0.5, temperature=2.0), Model("m", small_model().net, (8,), 5, np.float64))
    scores = flat(run.method.scores(run))
    model, w = run.model, weights(run.model)
    x, labels = scoring_batch(run.data.train, SETTINGS.seed, 0, SETTINGS.batch)
    g = softened_gradients(model, x, labels, w, 2.0)
    along_w = hessian_product(model, w, x, labels, [*w.values()])
    # w^T H g = g^T H w: the Hessian is symmetric
    assert scores.sum() == pytest.approx(np.vdot(flat(g), flat(along_w)), rel=1e-9)
    assert (scores < 0).any()
    mask = flat(masks_of(started(GraSP(density=0.5, temperature=2.0), model)))
    assert scores[mask].min() >= scores[~mask].max()


def test_removing_what_scores_high_reduces_the_gradients_norm_and_what_scores_low_raises_it():
    run = run_of(GraSP(density=0.5, temperature=2.0), mlp())
    model, w = run.model, weights(run.model)
    scores = run.method.scores(run)
    batch = scoring_batch(run.data.train, SETTINGS.seed, 0, SETTINGS.batch)

    def flow(weights_now):
        return np.square(flat(softened_gradients(model, *batch, weights_now, 2.0))).sum()

    before, e = flow(w), 1e-4
    for choose, sign in ((np.argmax, -1), (np.argmin, 1)):
        layer = int(choose([choose_value(s, choose) for s in scores]))
        name = [*w][layer]
        j = np.unravel_index(choose(scores[layer]), w[name].shape)
        shrunk = {n: value.copy() for n, value in w.items()}
        shrunk[name][j] *= 1 - e
        # eq. 2: d||g||^2 = -2 e s_j
        change = flow(shrunk) - before
        assert np.sign(change) == sign
        assert change == pytest.approx(-2 * e * scores[layer][j], rel=1e-2)


def choose_value(scores, choose):
    return scores.ravel()[choose(scores)]


@settings(max_examples=20)
@given(seed=st.integers(0, 999), density=st.floats(0.05, 1.0), cls=st.sampled_from([SNIP, FORCE, IterativeSNIP, GraSP]))
def test_budgets_are_exact_whatever_the_seed_and_the_density(seed, density, cls):
    method = cls(density=density, floor=1, **({"steps": 3} if issubclass(cls, IterativeSNIP) else {}))
    run = Run(small_model(seed), small_data(), method, SETTINGS)
    method.start(run)
    assert flat(masks_of(run)).sum() == round(density * 120)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: SNIP(density=0.5, batches=0), "batches"),
        (lambda: SNIP(density=0.5, samples=1), "samples"),
        (lambda: SNIP(density=0.5, accumulate="mean"), "accumulate"),
        (lambda: FORCE(density=0.5, steps=0), "steps"),
        (lambda: GraSP(density=0.5, temperature=0.0), "temperature"),
        (lambda: GraSP(density=0.5, samples=0), "samples"),
        (lambda: GraSP(density=0.5, batches=0), "batches"),
    ],
)
def test_wrong_settings_are_named(build, name):
    with pytest.raises(ValueError, match=name):
        build()
