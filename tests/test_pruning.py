"""Allocations, the cut, and scoring: what every method that prunes relies on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minisparse import build
from minisparse.layers import BatchNorm, Dropout, Linear, ReLU, Sequential
from minisparse.methods import GraSP, MagnitudeAtStart, Method, RandomPruning
from minisparse.methods.pruning import ALLOCATIONS, Pruning, allocate, magnitude
from minisparse.methods.scoring import gradients, scoring_batch
from minisparse.model import Model
from minisparse.models import NAMES
from minisparse.params import Init, Parameter
from minisparse.run import Run, TrainSettings
from minisparse.testing.methods import SETTINGS, small_data, small_model
from minisparse.train import train_step

SHAPES = [(4, 3), (1, 1), (2, 2, 3, 3), (0, 5), (6, 1)]


def parameters(shapes=SHAPES) -> list[Parameter]:
    return [Parameter(shape, Init("normal", 1.0)) for shape in shapes]


def counts(masks) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def started(method: Method, settings: TrainSettings = SETTINGS) -> Run:
    run = Run(small_model(), small_data(), method, settings)
    method.start(run)
    return run


@given(
    allocation=st.sampled_from(ALLOCATIONS),
    floor=st.integers(1, 3),
    k=st.integers(0, 55),
    data=st.data(),
)
def test_exactly_k_are_kept_and_no_layer_falls_below_the_floor(allocation, floor, k, data):
    layers = parameters()
    least = sum(min(floor, p.size) for p in layers)
    # few different scores, so that most of them tie
    scores = [np.array(data.draw(st.lists(st.integers(0, 2), min_size=p.size, max_size=p.size)), float) for p in layers]
    scores = [s.reshape(p.shape) for s, p in zip(scores, layers, strict=True)]
    method = Pruning(density=0.5, allocation=allocation, floor=floor)
    if k < least:
        with pytest.raises(ValueError, match=f"floor={floor} keeps {least} weights, more than the {k}"):
            method.choose(layers, scores, k)
        return
    masks = method.choose(layers, scores, k)
    assert sum(counts(masks)) == k
    for p, mask, s in zip(layers, masks, scores, strict=True):
        assert mask.shape == p.shape
        assert min(floor, p.size) <= mask.sum()
        if 0 < mask.sum() < p.size:  # within a layer, the largest scores, ties to the lower index
            order = np.argsort(-s.ravel(), kind="stable")
            np.testing.assert_array_equal(np.sort(order[: mask.sum()]), np.flatnonzero(mask))


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    floor=st.integers(0, 3),
    seed=st.integers(0, 999),
)
def test_counts_are_whole_capped_and_no_layer_gains_when_the_budget_falls(sizes, floor, seed):
    shares = np.random.default_rng(seed).integers(1, 50, len(sizes))
    least = sum(min(floor, size) for size in sizes)
    before = [min(floor, size) for size in sizes]
    for k in range(least, sum(sizes) + 1):
        now = allocate(shares, sizes, k, floor)
        assert sum(now) == k
        assert all(a <= b <= size for a, b, size in zip(before, now, sizes, strict=True))
        before = now


def test_uniform_gives_every_layer_one_density_and_erk_follows_its_dimensions():
    layers = parameters([(40, 50), (100, 10), (8, 4, 5, 5)])
    scores = [np.zeros(p.shape) for p in layers]
    uniform = counts(Pruning(density=0.1, allocation="uniform").choose(layers, scores, 380))
    assert uniform == [200, 100, 80]
    erk = counts(Pruning(density=0.1, allocation="erk").choose(layers, scores, 222))
    # dimensions sum to 90, 110 and 22
    assert erk == [90, 110, 22]
    # what a full layer cannot take goes to the others, in proportion
    assert allocate([10, 200], [9, 10_000], 1009) == [9, 1000]
    assert allocate([30, 10], [31, 11], 8) == [6, 2]


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_layer_collapse_is_an_error_that_names_the_layer_unless_there_is_a_floor(allocation):
    layers = parameters([(30, 30), (2, 2)])
    layers[1].name = "fc2.weight"
    scores = [np.ones(p.shape) for p in layers]
    with pytest.raises(ValueError, match=r"layer collapse: .* none of the 4 weights of fc2\.weight when 3 stay"):
        Pruning(density=0.1, allocation=allocation).choose(layers, scores, 3)
    assert counts(Pruning(density=0.1, allocation=allocation, floor=1).choose(layers, scores, 3)) == [2, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_the_budget_is_exact_on_every_model_of_the_zoo_when_all_scores_tie(name, allocation):
    model = build(name, (3, 32, 32), 10, width=0.05)
    method = Pruning(density=0.3, allocation=allocation, floor=1)
    layers = [*method.candidates(model).values()]
    masks = method.choose(layers, [np.zeros(p.shape, np.float32) for p in layers], method.places(model))
    assert sum(counts(masks)) == method.places(model) == round(0.3 * sum(p.size for p in layers))


def masks_of(run: Run) -> np.ndarray:
    return np.concatenate([p.mask.ravel() for p in run.method.candidates(run.model).values()])


@pytest.mark.parametrize("cls", [RandomPruning, MagnitudeAtStart, GraSP])
def test_all_weights_kept_is_the_dense_run_to_the_bit(cls):
    dense, pruned = started(Method()), started(cls(density=1.0))
    for _ in range(dense.total_steps):
        assert train_step(dense) == train_step(pruned)
    for name, p in dense.model.parameters.items():
        assert p.value().tobytes() == pruned.model.parameters[name].value().tobytes()


def test_a_shuffled_mask_has_the_same_counts_and_redrawn_survivors_new_values():
    plain = started(MagnitudeAtStart(density=0.3))
    shuffled = started(MagnitudeAtStart(density=0.3, control="shuffle"))
    redrawn = started(MagnitudeAtStart(density=0.3, control="redraw"))
    for name, p in plain.method.candidates(plain.model).items():
        assert shuffled.model.parameters[name].kept == p.kept
        assert (shuffled.model.parameters[name].mask != p.mask).any()
        np.testing.assert_array_equal(redrawn.model.parameters[name].mask, p.mask)
        assert (redrawn.model.parameters[name].value() != p.value())[p.mask].all()


def test_what_was_cut_ranks_below_a_survivor_of_value_zero():
    p = parameters([(2, 3)])[0]
    p.store.values[...] = [[3, 0, -2], [0, 1, 0]]
    p.keep(np.array([[True, False, True], [True, False, False]]))
    np.testing.assert_array_equal(magnitude(p), [[3, -1, 2], [0, -1, -1]])
    p.to_sparse()
    np.testing.assert_array_equal(magnitude(p), [[3, -1, 2], [0, -1, -1]])


# Scoring


def test_scoring_batches_take_the_classes_in_turn_and_begin_anew_when_all_samples_are_given_out():
    split = small_data().train
    x, labels = scoring_batch(split, 0, 0, 8)
    assert x.shape == (8, 8) and x.dtype == np.float32
    assert np.bincount(labels).tolist() == [2, 2, 2, 2]
    n = len(split)
    np.testing.assert_array_equal(scoring_batch(split, 0, 0, n)[0], scoring_batch(split, 0, 1, n)[0])
    whole, halves = scoring_batch(split, 0, 0, 20)[0], [scoring_batch(split, 0, i, 10)[0] for i in (0, 1)]
    np.testing.assert_array_equal(whole, np.concatenate(halves, axis=-1))
    assert (scoring_batch(split, 0, 0, 8)[0] != scoring_batch(split, 1, 0, 8)[0]).any()


def test_scoring_leaves_the_model_as_it_was_and_drops_nothing_out():
    net = {"fc1": Linear(8, 10), "bn": BatchNorm(10), "relu": ReLU(), "drop": Dropout(0.5), "fc2": Linear(10, 4)}
    model = Model("m", Sequential(net), (8,))
    without = Model("m", Sequential({name: layer for name, layer in net.items() if name != "drop"}), (8,))
    x, labels = scoring_batch(small_data().train, 0, 0, 16)
    values = {name: p.value().copy() for name, p in model.parameters.items()}
    buffers = {name: array.copy() for name, array in model.buffers.items()}
    weights = {name: p.value() for name, p in model.parameters.items() if p.role == "weight"}
    ours = gradients(model, x, labels, weights)
    for p in model.parameters.values():
        assert p.value().tobytes() == values[p.name].tobytes() and not p.store.grad.any()
    assert all((model.buffers[name] == array).all() for name, array in buffers.items())
    assert net["drop"].p == 0.5
    for g, theirs in zip(ours, gradients(without, x, labels, weights), strict=True):
        np.testing.assert_array_equal(g, theirs)


@pytest.mark.parametrize(
    ("build_it", "name"),
    [
        (lambda: Pruning(density=0.5, allocation="local"), "allocation"),
        (lambda: Pruning(density=0.5, floor=-1), "floor"),
        (lambda: RandomPruning(density=0.5, control="shuffled"), "control"),
    ],
)
def test_wrong_settings_are_named(build_it, name):
    with pytest.raises(ValueError, match=name):
        build_it()
