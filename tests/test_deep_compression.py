"""Deep Compression: k-means, shared values and their gradient, the paper's format, its bits, and EIE."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisparse import rng
from minisparse.codecs import eie, relative
from minisparse.compressed import compress
from minisparse.loss import softmax_cross_entropy
from minisparse.methods import Compose, DeepCompression, DropBack, PruneRetrain, TrainedQuantisation
from minisparse.methods.trained_quantisation import STARTS, kmeans, starting_points
from minisparse.model import Model
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import fit, train_step

REALS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=60)
LAYERS = st.lists(st.tuples(st.integers(0, 70), st.sampled_from([-1.5, -0.25, 0.0, 0.5, 2.0, 3.0])), max_size=40)
WIDTHS = st.integers(1, 8)


def points(x, levels, start="linear"):
    return starting_points(np.array(x, np.float32), levels, start, rng.Stream(0, "test"))


def inertia(x, centroids):
    return float((np.abs(x[:, None] - centroids).min(axis=1) ** 2).sum())


# k-means


@given(REALS, st.integers(1, 12), st.sampled_from(STARTS))
def test_inertia_never_rises_and_ends_at_zero_with_a_centroid_for_every_value(values, levels, start):
    x = np.array(values, np.float64)
    first = points(x, levels, start)
    last = kmeans(x, first)
    rounding = 1e-12 * float((x**2).sum() + 1)
    assert inertia(x, last) <= inertia(x, first) + rounding
    assert len(last) <= levels
    if len(np.unique(x)) <= levels:
        assert inertia(x, last) <= rounding


@given(REALS, st.integers(2, 12))
def test_every_round_of_kmeans_lowers_the_inertia(values, levels):
    x, centroids, before = np.array(values, np.float64), points(values, levels), np.inf
    for _ in range(5):
        after = inertia(x, centroids)
        assert after <= before + 1e-12 * float((x**2).sum() + 1)
        nearest = np.abs(x[:, None] - centroids).argmin(axis=1)
        means = [x[nearest == j].mean() if (nearest == j).any() else c for j, c in enumerate(centroids)]
        before, centroids = after, np.array(means)
    assert inertia(x, kmeans(x, points(values, levels))) <= before + 1e-12 * float((x**2).sum() + 1)


@given(REALS, st.integers(1, 12), st.sampled_from(STARTS))
def test_clusters_are_intervals_and_every_centroid_is_the_mean_of_its_own(values, levels, start):
    x = np.sort(np.array(values, np.float64))
    centroids = kmeans(x, points(x, levels, start))
    assert (np.diff(centroids) > 0).all()
    nearest = np.abs(x[:, None] - centroids).argmin(axis=1)
    assert (np.diff(nearest) >= 0).all()


@given(REALS, st.integers(2, 12), st.randoms())
def test_the_linear_start_spans_the_values_whatever_their_order_and_mirrors(values, levels, random):
    c = points(values, levels)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert points(shuffled, levels).tobytes() == c.tobytes()
    assert (c[0], c[-1]) == (min(values), max(values))
    if len(set(values)) > levels:
        assert len(c) == levels
    np.testing.assert_array_equal(points([-v for v in values], levels), -c[::-1])


# Shared values in training


def shared_run(method, dtype=np.float32, **training):
    model = Model("small", small_model().net, (8,), 5, dtype)
    run = Run(model, small_data(), method, replace(SETTINGS, **training))
    method.start(run)
    while run.step < method.begin * run.total_steps:
        train_step(run)
    return run


def test_the_gradient_of_a_shared_value_is_the_sum_of_its_weights_and_equals_central_differences():
    run = shared_run(TrainedQuantisation(begin=0.5, bits=2, tune=1.0), np.float64, weight_decay=0.0)
    x, labels = run.batches.batch(0, 0)
    x = x.astype(np.float64)

    def loss():
        logits, caches = run.model.forward(x, training=True)
        value, dlogits = softmax_cross_entropy(logits, labels)
        return value, dlogits, caches

    run.model.zero_grad()
    _, dlogits, caches = loss()
    run.model.backward(dlogits, caches)
    for p in (run.model.parameters[name] for name in ("fc1.weight", "fc2.weight")):
        cluster, total = p.notes["cluster"].reshape(p.shape), p.store.grad.sum()
        g = run.method.pullback(p, p.store.grad, None)
        shared = [g[cluster == j] for j in range(cluster.max() + 1)]
        assert all(len(np.unique(own)) == 1 for own in shared)
        assert abs(sum(own[0] for own in shared) - total) < 1e-12
        for j, own in enumerate(shared):
            sides = []
            for step in (1e-5, -2e-5):
                p.store.values[cluster == j] += step
                sides.append(loss()[0])
            p.store.values[cluster == j] += 1e-5
            assert abs((sides[0] - sides[1]) / 2e-5 - own[0]) < 1e-8


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.sampled_from(STARTS), st.sampled_from(["sgd", "adam"]), st.floats(0.1, 1), st.integers(0, 9))
def test_after_any_number_of_steps_a_layer_has_few_values_and_the_same_zeros(bits, start, optimizer, density, seed):
    cut = PruneRetrain(density=density, cut_at=0.2, floor=1)
    method = Compose(cut, TrainedQuantisation(begin=0.5, bits=bits, centroids=start, tune=0.1))
    run = Run(small_model(), small_data(), method, replace(SETTINGS, optimizer=optimizer, lr=0.05, seed=seed))
    method.start(run)
    masks = {}
    while run.step < run.total_steps:
        train_step(run)
        if run.step < run.total_steps // 2:
            continue
        for name, p in method.methods[0].candidates(run.model).items():
            values, mask = p.value(), np.ones(p.shape, bool) if p.mask is None else p.mask
            assert (masks.setdefault(name, mask) == mask).all()
            assert len(np.unique(values[mask])) <= 2**bits - (not mask.all())
            assert not values[~mask].any()


def test_the_file_of_a_run_holds_the_network_that_was_trained_to_the_bit():
    model, data = small_model(), small_data()
    method = DeepCompression(density=0.3, cut_at=0.3, share_at=0.7, bits=2, rounds=2)
    fit(model, data, method, TrainSettings(epochs=5, batch=10, lr=0.05))
    compressed, x = compress(model), data.test.samples()
    assert sum(row["bytes"] for row in compressed.ledger()) == compressed.file_bytes == len(compressed.to_bytes())
    decoded = compressed.model()
    assert decoded.predict(x).tobytes() == model.predict(x).tobytes()
    for name, p in model.parameters.items():
        assert decoded.parameters[name].value().tobytes() == p.value().tobytes()
        if p.role == "weight":
            assert len(np.unique(p.value())) <= 4
            assert not p.notes


def test_pruning_in_rounds_thins_by_equal_factors_and_meets_the_budget():
    method = PruneRetrain(density=0.125, cut_at=0.25, rounds=3)
    run = Run(small_model(), small_data(), method, replace(SETTINGS, epochs=4))
    method.start(run)
    kept = []
    for _ in range(run.total_steps):
        train_step(run)
        kept.append(sum(p.kept for p in method.candidates(run.model).values()))
    assert list(dict.fromkeys(kept)) == [120, 60, 30, 15]


def test_values_are_shared_over_any_rest_value_but_not_while_the_mask_is_open():
    shared = TrainedQuantisation(begin=0.6, bits=2)
    method = Compose(DropBack(budget=60, freeze=0.5), shared)
    model, training = small_model(), replace(SETTINGS, weight_decay=0.0)
    fit(model, small_data(), method, training)
    for name in ("fc1.weight", "fc2.weight"):
        p = model.parameters[name]
        assert len(np.unique(p.value()[p.mask])) <= 3
        assert p.value()[~p.mask].tobytes() == p.rest()[~p.mask].tobytes()
    with pytest.raises(ValueError, match=r"begin=0.6 is too early: the mask of fc1.weight is still open"):
        fit(small_model(), small_data(), Compose(DropBack(budget=60), shared), training)
    with pytest.raises(ValueError, match=r"weight_decay=0.01 pulls the weights of fc1.weight"):
        fit(small_model(), small_data(), method, SETTINGS)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("share_at", 0.4), ("share_at", 1.1), ("bits", 0), ("conv_bits", 17), ("tune", -1.0), ("rounds", 0)]
    + [("centroids", "elsewhere")],
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        DeepCompression(density=0.1, **{setting: value})


# The paper's format


def layer_of(runs):
    """(values, mask) of runs of zeros, each followed by a kept weight."""
    places = np.cumsum([zeros + 1 for zeros, _ in runs], dtype=np.int64) - 1
    size = int(places[-1]) + 5 if len(places) else 3
    values, mask = np.zeros(size, np.float32), np.zeros(size, bool)
    values[places], mask[places] = [value for _, value in runs], True
    return values, mask


@given(LAYERS, WIDTHS)
def test_streams_have_a_symbol_for_each_weight_and_filler_and_come_back(runs, width):
    values, mask = layer_of(runs)
    layer = relative.streams(values, mask, width)
    fillers = sum(zeros >> width for zeros, _ in runs)
    assert len(layer.levels) == len(layer.gaps) == mask.sum() + fillers
    assert np.count_nonzero(layer.levels == 0) == fillers
    assert layer.gaps.max(initial=0) < 1 << width
    np.testing.assert_array_equal(relative.dense(layer, len(values)), values)


def test_the_example_of_eie():
    values = np.array([0, 0, 1, 2] + [0] * 18 + [3], np.float32)
    layer = relative.streams(values, values != 0, 4)
    np.testing.assert_array_equal(layer.levels, [1, 2, 0, 3])
    np.testing.assert_array_equal(layer.gaps, [2, 0, 15, 2])


@given(LAYERS, WIDTHS, st.integers(0, 3))
def test_the_formula_is_the_encoders_count_and_what_is_coded_comes_back(runs, width, spare):
    values, mask = layer_of(runs)
    layer = relative.streams(values, mask, width)
    k, symbols = len(layer.codebook), len(layer.levels)
    bits = max(k.bit_length(), 1) + spare
    sizes, parts = relative.sizes(layer, width, bits), relative.encode(layer, width)
    # bits of each part, counted in what was written
    written = {name: 8 * len(part) for name, part in parts.items()}
    alone = 32 * k + 4 * (k + 1) + 4 * 2**width
    assert 0 <= written["codebook"] + written["tables"] - alone < 8
    payload = sizes.coded - alone
    assert 0 <= written["levels"] + written["gaps"] - payload < 16
    again = relative.decode(parts, width, symbols)
    assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(again, layer, strict=True))
    # eqs. 1 and 2, and the stages in their order
    nnz = int(mask.sum())
    assert sizes.pruned == 32 * nnz + width * symbols
    assert sizes.quantised == symbols * (bits + width) + 32 * 2**bits
    assert sizes.coded <= sizes.quantised + 4 * (k + 1) + 4 * 2**width


@given(LAYERS, WIDTHS)
def test_each_huffman_stream_takes_its_entropy_and_less_than_a_bit_a_symbol_more(runs, width):
    layer = relative.streams(*layer_of(runs), width)
    total = 0.0, 0.0
    for stream in (layer.levels, layer.gaps):
        counts = np.unique(stream, return_counts=True)[1]
        if len(counts) > 1:
            entropy = float(counts @ np.log2(counts.sum() / counts))
            total = total[0] + entropy, total[1] + entropy + counts.sum()
    k = len(layer.codebook)
    payload = relative.sizes(layer, width).coded - 32 * k - 4 * (k + 1) - 4 * 2**width
    assert total[0] - 1e-9 <= payload <= total[1]


@settings(max_examples=20)
@given(LAYERS)
def test_the_chosen_width_is_the_cheapest(runs):
    values, mask = layer_of(runs)
    sizes = [relative.sizes(relative.streams(values, mask, width), width).coded for width in relative.WIDTHS]
    assert sizes[relative.choose_width(values, mask) - 1] == min(sizes)


def test_a_code_that_cannot_say_every_level_and_zero_is_refused():
    layer = relative.streams(*layer_of([(0, -1.5), (3, 0.5)]), 2)
    with pytest.raises(ValueError, match="level_bits=1 cannot tell 2 levels"):
        relative.sizes(layer, 2, 1)


@settings(deadline=None)
@given(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 5), st.floats(0, 1), st.floats(0, 1))
def test_the_interleaved_product_is_the_dense_one_and_looks_at_live_columns_only(seed, count, width, density, live):
    generator = np.random.default_rng(seed)
    w = generator.integers(-4, 5, (40, 6)).astype(np.float64) * (generator.random((40, 6)) < density)
    a = generator.integers(-3, 4, 6).astype(np.float64) * (generator.random(6) < live)
    elements, table = eie.interleave(w, count, width)
    b, work = eie.product(elements, table, a, len(w))
    np.testing.assert_array_equal(b, w @ a)
    fillers = 0
    for j in np.flatnonzero(a):
        for k in range(count):
            places = np.flatnonzero(w[k::count, j])
            fillers += int(((np.diff(places, prepend=-1) - 1) >> width).sum())
    assert work == np.count_nonzero(w[:, a != 0]) + fillers
    assert all((e.run < 1 << width).all() and e.pointers[-1] == len(e.index) for e in elements)
