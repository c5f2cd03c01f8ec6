"""Soft weight-sharing: the mixture's gradients, its merging, and what the weights become."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse._core import mixture as kernel
from minisparse._core import mixture_ref
from minisparse.compressed import compress
from minisparse.methods import Compose, Method, PruneRetrain, SoftWeightSharing
from minisparse.methods.soft_weight_sharing import (
    Mixture,
    assign,
    divergences,
    log_mixture,
    merged,
    mixture_of,
    moving_mixture,
)
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import fit, train_step

EPS = np.finfo(np.float64).eps
SEEDS = st.integers(0, 2**32 - 1)
QUICK = {"tau": 1e-3, "sigma": 0.1, "gamma_rate": 0.05}


def random_mixture(generator, components, sigma=(1e-4, 1.0)):
    """Rows mu, gamma, and a before rho, of J + 1 components."""
    rows = generator.normal(size=(3, components + 1))
    rows[0, 0] = 0
    rows[1] = -2 * np.log(np.exp(generator.uniform(*np.log(sigma), components + 1)))
    rows[2, 0] = generator.uniform(-1, 5)
    return rows


def cost(w, rows, method):
    """C as eqs. 2 to 5 say it."""
    mean, gamma, (a, rho) = rows[0], rows[1], (rows[2, 0], rows[2, 1:])
    pi_0 = 1 / (1 + np.exp(-a))
    log_share = np.append(np.log(pi_0), np.log(1 - pi_0) + rho - np.logaddexp.reduce(rho))
    density = log_share + gamma / 2 - np.log(2 * np.pi) / 2 - np.exp(gamma) * (w[:, None] - mean) ** 2 / 2
    alpha = np.where(np.arange(len(mean)) == 0, method.zero_alpha, method.other_alpha)
    b = np.where(np.arange(len(mean)) == 0, method.zero_b, method.other_b)
    c = -np.logaddexp.reduce(density, axis=1).sum() + ((1 - alpha) * gamma + b * np.exp(gamma)).sum()
    return c - (method.beta_a - 1) * np.log(pi_0) - (method.beta_b - 1) * np.log(1 - pi_0)


def differences(function, x, step):
    """Central differences of fourth order in every entry of x."""
    slopes = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        value, sides = x[place], []
        for k in (-2, -1, 1, 2):
            x[place] = value + k * step
            sides.append(function())
        x[place] = value
        slopes[place] = (sides[0] - 8 * sides[1] + 8 * sides[2] - sides[3]) / (12 * step)
    return slopes


@pytest.mark.parametrize("shape", [{}, {"beta_a": 50.0, "beta_b": 3.0}])
@pytest.mark.parametrize("zero", [{}, {"zero_alpha": 1.0, "zero_b": 0.0}])
@pytest.mark.parametrize("others", [{}, {"other_alpha": 1.0, "other_b": 0.0}])
@pytest.mark.parametrize("seed", range(3))
def test_all_gradients_equal_finite_differences_to_1e_8_with_each_hyper_prior_and_without(shape, zero, others, seed):
    generator = np.random.default_rng(seed)
    method = SoftWeightSharing(learn_share=True, **shape, **zero, **others)
    rows, w = random_mixture(generator, 5, (0.05, 0.5)), generator.normal(size=30)
    _, dw, sums = kernel.prior(w, *log_mixture(rows))
    slopes = differences(lambda: cost(w, rows, method), w, 2e-4)
    assert np.abs(dw - slopes).max() < 1e-8 * np.abs(slopes).max()
    ours, slopes = method.gradient(rows, sums), differences(lambda: cost(w, rows, method), rows, 2e-4)
    slopes[0, 0] = ours[0, 0] = 0  # mu_0 is fixed
    for name, g, slope in zip(("mu", "gamma", "rho and a"), ours, slopes, strict=True):
        assert np.abs(g - slope).max() < 1e-8 * np.abs(slope).max(), name


def test_a_share_that_is_not_learned_and_the_mean_at_zero_do_not_move():
    rows = random_mixture(np.random.default_rng(0), 4)
    g = SoftWeightSharing().gradient(rows, np.ones((3, 5)))
    assert g[0, 0] == 0 and g[2, 0] == 0 and g[1, 0] != 0


@given(SEEDS, st.integers(1, 20), st.sampled_from([1e-2, 1.0, 1e3]))
def test_responsibilities_are_shares_that_sum_to_one_also_far_from_every_mean(seed, components, scale):
    generator = np.random.default_rng(seed)
    w = scale * generator.normal(size=50)
    mean, gamma, log_share = log_mixture(random_mixture(generator, components))
    beta, constant = mixture_ref.check_mixture(w, mean, gamma, log_share)
    _, r, _ = mixture_ref._responsibilities(w, mean, beta, constant)
    assert (r >= 0).all() and (r <= 1).all()
    assert (np.abs(r.sum(axis=1) - 1) <= 4 * EPS).all()
    loss, dw, sums = kernel.prior(w, mean, gamma, log_share)
    assert np.isfinite(loss) and np.isfinite(dw).all() and np.isfinite(sums).all()
    assert abs(sums[0].sum() - len(w)) <= 4 * EPS * len(w)


@given(SEEDS, st.integers(2, 20), st.floats(-50, 50))
def test_logits_matter_up_to_a_constant(seed, components, constant):
    generator = np.random.default_rng(seed)
    rows, w = random_mixture(generator, components, (0.05, 1)), generator.normal(size=40)
    moved = rows.copy()
    moved[2, 1:] += constant
    np.testing.assert_allclose(mixture_of(moved).share, mixture_of(rows).share, rtol=(abs(constant) + 9) * 4 * EPS)
    g = SoftWeightSharing().gradient(rows, kernel.prior(w, *log_mixture(rows))[2])[2, 1:]
    assert abs(g.sum()) <= 4 * components * EPS * len(w)


@given(SEEDS, st.integers(0, 20), st.floats(-10, 10))
def test_moving_all_weights_and_means_alike_changes_nothing(seed, components, distance):
    generator = np.random.default_rng(seed)
    w, rows = generator.normal(size=40), random_mixture(generator, components, (0.05, 1))
    mixture = [np.array(part) for part in log_mixture(rows)] if components else [np.zeros(1), rows[1], np.zeros(1)]
    loss, dw, (_, d, _) = kernel.prior(w, *mixture)
    beta = np.exp(mixture[1])
    terms = mixture_ref.magnitudes("prior", w, *mixture)
    # sum_i dC/dw_i + sum_j dC/dmu_j, mu_0 included
    assert abs(dw.sum() - (beta * d).sum()) <= 200 * EPS * terms[1].sum()
    mixture[0] = mixture[0] + distance
    # moving rounds d by eps (|w| + distance), which beta d / 2 raises
    rounded = EPS * (abs(distance) + 9) * beta.max() * 40 * 20
    assert abs(kernel.prior(w + distance, *mixture)[0] - loss) <= rounded + 200 * EPS * terms[0]


@given(SEEDS, st.floats(1e-3, 1e6))
def test_one_component_is_weight_decay(seed, beta):
    w = np.random.default_rng(seed).normal(size=33)
    _, dw, _ = kernel.prior(w, np.zeros(1), np.log([beta]), np.zeros(1))
    np.testing.assert_allclose(dw, np.exp(np.log(beta)) * w, rtol=8 * EPS)


@given(SEEDS, st.integers(1, 20))
def test_the_order_of_components_and_weights_is_only_that_of_the_gradients(seed, components):
    generator = np.random.default_rng(seed)
    w, mixture = generator.normal(size=70), log_mixture(random_mixture(generator, components, (0.05, 1)))
    terms = mixture_ref.magnitudes("prior", w, *mixture)
    order, places = np.append(0, 1 + generator.permutation(components)), generator.permutation(len(w))
    loss, dw, sums = kernel.prior(w, *mixture)
    again, dw_again, sums_again = kernel.prior(w[places], *(part[order] for part in mixture))
    assert abs(again - loss) <= 200 * EPS * terms[0]
    assert (np.abs(dw_again - dw[places]) <= 200 * EPS * terms[1][places]).all()
    assert (np.abs(sums_again - sums[:, order]) <= 200 * EPS * terms[2][:, order]).all()


@given(SEEDS, st.integers(0, 200))
def test_parts_of_the_weights_add_up(seed, cut):
    generator = np.random.default_rng(seed)
    w, mixture = generator.normal(size=200), log_mixture(random_mixture(generator, 5, (0.05, 1)))
    loss, dw, sums = kernel.prior(w, *mixture)
    parts = [kernel.prior(part, *mixture) for part in (w[:cut], w[cut:])]
    terms = mixture_ref.magnitudes("prior", w, *mixture)
    assert abs(sum(part[0] for part in parts) - loss) <= 250 * EPS * terms[0]
    assert (np.abs(np.concatenate([part[1] for part in parts]) - dw) <= 40 * EPS * terms[1]).all()
    assert (np.abs(sum(part[2] for part in parts) - sums) <= 250 * EPS * terms[2]).all()


def density(x, mixture):
    spread = np.exp(-mixture.gamma / 2)
    return (mixture.share / spread * np.exp(-(((x[:, None] - mixture.mean) / spread) ** 2) / 2)).sum(axis=1)


@given(SEEDS, st.integers(1, 12))
def test_divergence_is_zero_of_itself_and_positive_of_others(seed, components):
    kl = divergences(mixture_of(random_mixture(np.random.default_rng(seed), components, (1e-2, 1))))
    assert (np.abs(np.diag(kl)) <= 4 * EPS).all() and (kl >= -4 * EPS).all()


def test_divergence_agrees_with_quadrature():
    mixture = mixture_of(random_mixture(np.random.default_rng(1), 3, (0.2, 1)))
    x = np.linspace(-12, 12, 200_001)
    single = [density(x, Mixture(m[None], g[None], np.ones(1))) / np.sqrt(2 * np.pi) for m, g in zip(*mixture[:2])]
    for i, j in itertools.product(range(4), repeat=2):
        p, q = single[i], single[j]
        inside = p > 1e-300
        kl = np.trapezoid(p[inside] * np.log(p[inside] / np.maximum(q[inside], 1e-320)), x[inside])
        np.testing.assert_allclose(divergences(mixture)[i, j], kl, rtol=1e-4, atol=1e-9)


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 15), st.sampled_from([1e-10, 0.1, 1.0, 10.0]))
def test_merging_keeps_the_shares_and_the_zero_and_does_not_depend_on_the_order(seed, components, threshold):
    generator = np.random.default_rng(seed)
    mixture = mixture_of(random_mixture(generator, components, (0.2, 1)))
    result = merged(mixture, threshold)
    assert abs(result.share.sum() - 1) <= 40 * EPS and result.mean[0] == 0
    rounding = 40 * EPS * np.abs(mixture.mean).max()
    assert result.mean.min() >= mixture.mean.min() - rounding and result.mean.max() <= mixture.mean.max() + rounding
    off = divergences(result) + np.diag(np.full(len(result.mean), np.inf))
    assert (off >= threshold).all()
    order = np.append(0, 1 + generator.permutation(components))
    for other in (merged(Mixture(*(part[order] for part in mixture)), threshold), merged(result, threshold)):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(other, result, strict=True))


@given(SEEDS, st.integers(1, 6))
def test_merging_two_keeps_the_mean_between_and_merging_equals_keeps_the_density(seed, copies):
    generator = np.random.default_rng(seed)
    m, g, share = 5 + 0.2 * generator.normal(size=2), 0.1 * generator.normal(size=2), generator.dirichlet(np.ones(3))
    two = Mixture(np.append(0, m), np.append(9, g), share)
    assert len(merged(two, 5).mean) == 2
    assert min(m) - 40 * EPS <= merged(two, 5).mean[1] <= max(m) + 40 * EPS
    same = Mixture(*(np.append(part[0], np.full(copies, part[1])) for part in two[:2]), np.ones(copies + 1))
    same = same._replace(share=same.share / same.share.sum())
    one, x = merged(same, 1e-10), np.linspace(-1, 8, 50)
    assert len(one.mean) == 2
    np.testing.assert_allclose(density(x, one), density(x, same), rtol=1e-11)


@given(SEEDS, st.integers(1, 15), st.sampled_from([1e-10, 1.0]))
def test_every_weight_takes_the_component_that_claims_it_most(seed, components, threshold):
    generator = np.random.default_rng(seed)
    mixture = merged(mixture_of(random_mixture(generator, components, (1e-2, 0.3))), threshold)
    w = generator.normal(size=(5, 40))
    k = assign(w, mixture)
    for value, component in zip(w.ravel(), k.ravel(), strict=True):
        claims = [
            np.log(share) + gamma / 2 - np.exp(gamma) / 2 * (value - mean) ** 2
            for mean, gamma, share in zip(*mixture, strict=True)
        ]
        assert claims[component] >= max(claims) - 8 * EPS * abs(max(claims, key=abs))


def run_of(method: Method, **training) -> Run:
    run = Run(small_model(), small_data(), method, replace(SETTINGS, **training))
    method.start(run)
    return run


def test_without_weight_of_the_prior_the_weights_go_the_way_of_plain_training():
    plain = {"weight_decay": 0.0, "schedule": "cosine"}
    ours, dense = run_of(SoftWeightSharing(begin=0.0, tau=0.0), **plain), run_of(Method(), **plain)
    for _ in range(dense.total_steps):
        assert train_step(ours) == train_step(dense)
    for name, p in dense.model.parameters.items():
        assert ours.model.parameters[name].value().tobytes() == p.value().tobytes()


def test_the_prior_moves_weights_by_its_price_and_leaves_biases_alone():
    run = run_of(SoftWeightSharing(begin=0.0, tau=0.5))
    p, bias = run.model.parameters["fc1.weight"], run.model.parameters["fc1.bias"]
    loss, dw, _ = kernel.prior(p.value(), *log_mixture(p.notes["mixture"]))
    price = 0.5 / len(run.data.train)
    ours, gradient = run.method.penalty(p)
    assert ours == price * loss
    np.testing.assert_array_equal(gradient, dw * np.float32(price))
    assert run.method.penalty(bias) == (0.0, 0.0)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 16), st.integers(0, 99))
def test_weights_end_at_few_values_with_exact_zeros_and_the_file_holds_them_to_the_bit(components, seed):
    model, data = small_model(seed), small_data()
    method = SoftWeightSharing(begin=0.5, components=components, **QUICK)
    fit(model, data, method, TrainSettings(epochs=6, batch=10, lr=3e-3, optimizer="adam", seed=seed))
    weights = [p for p in model.parameters.values() if p.role == "weight"]
    assert len(np.unique([value for p in weights for value in p.value().ravel()])) <= components + 1
    for p in weights:
        off = p.value()[~p.mask]
        assert off.tobytes() == np.zeros_like(off).tobytes()
        assert not p.notes
    decoded, x = compress(model).model(), data.test.samples()
    assert decoded.predict(x).tobytes() == model.predict(x).tobytes()


def test_a_mask_that_stands_is_kept_and_only_what_it_holds_is_clustered():
    method = Compose(PruneRetrain(density=0.25, cut_at=0.3), SoftWeightSharing(begin=0.5, **QUICK))
    run = run_of(method)
    for _ in range(run.total_steps):
        train_step(run)
    before = {name: run.model.parameters[name].mask for name in ("fc1.weight", "fc2.weight")}
    for name in run.model.parameters:
        run.hold_dense(name)
    method.finish(run)
    for name, mask in before.items():
        p = run.model.parameters[name]
        assert (p.mask <= mask).all() and not p.value()[~mask].any()


def test_the_record_holds_what_the_figure_of_the_moving_mixture_needs():
    model = small_model()
    fit(model, small_data(), SoftWeightSharing(begin=0.5, record=4, **QUICK), TrainSettings(epochs=4, batch=10, lr=0.01))
    record = moving_mixture(model)
    last = record["steps"][-1] - record["steps"][0]
    np.testing.assert_array_equal(record["steps"], record["steps"][0] + np.arange(0, last + 1, 4))
    assert record["mean"].shape == record["sigma"].shape == record["share"].shape == (len(record["steps"]), 17)
    np.testing.assert_allclose(record["share"].sum(axis=1), 1)
    np.testing.assert_allclose(record["sigma"][0], 0.1)
    assert record["before"].shape == record["after"].shape and len(np.unique(record["after"])) <= 17
    assert (record["before"] != record["after"]).any()
    with pytest.raises(ValueError, match="record=100"):
        moving_mixture(small_model())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("begin", 1.0), ("components", 256), ("components", 0), ("zero_share", 1.0), ("tau", -1.0), ("sigma", 0.0)]
    + [("reach", 0.0), ("record", -1), ("retrain", 0.0), ("beta_a", 0.0), ("merge", -1.0), ("gamma_rate", np.inf)],
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        SoftWeightSharing(**{setting: value})
